"""What the commands share: one sentence on stderr and exit status 1 for a mistake of the user, and how tables look."""

import argparse
import dataclasses
import functools
import logging
import os
import sys
import typing


def command(main):
    """Decorate `main(argv)`: quiet TensorFlow, show the zoo's log, turn refusals into one sentence and a status."""

    @functools.wraps(main)
    def run(argv=None):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        logging.basicConfig(format="%(message)s")
        logging.getLogger("training").setLevel(logging.INFO)
        try:
            return main(argv)
        except (ValueError, FloatingPointError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            print("stopped; the same command goes on after the last finished epoch", file=sys.stderr)
        return 1

    return run


def add_flags(parser, dataclass, but=()):
    """One flag for each field of `dataclass`: its type, its help, its choices. Flags not given are absent."""
    types = typing.get_type_hints(dataclass)
    for field in dataclasses.fields(dataclass):
        if field.name in but:
            continue
        kind = types[field.name]
        options = {"help": field.metadata["help"], "default": argparse.SUPPRESS, "dest": field.name}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is tuple:
            options |= {"type": typing.get_args(kind)[0], "nargs": "*", "metavar": "N"}
        else:
            options |= {"type": kind, "choices": field.metadata["choices"]}
            if not field.metadata["choices"]:
                options["metavar"] = kind.__name__.upper()
        parser.add_argument("--" + field.name.replace("_", "-"), **options)


def show_table(title, rows, caption):
    """In the terminal: `rows` of cells, the first of which is the header; their names, the first cells, stay whole."""
    from rich.console import Console
    from rich.table import Column, Table

    (name, *others), *lines = rows
    table = Table(Column(name, no_wrap=True), *others, title=title, caption=caption)
    for cells in lines:
        table.add_row(*cells)
    needed = Console(width=1000).measure(table).maximum  # for no number to be cut; a narrow terminal folds the lines
    Console(width=max(Console().width, needed)).print(table)
