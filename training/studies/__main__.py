"""python -m training.studies NAME [--workdir DIR] [--record FOLDER] [the study's own flags]; --list"""

import argparse
import sys
from pathlib import Path

from training.command_line import command
from training.studies import STUDIES, study_named


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.studies", description="Run a study.")
    parser.add_argument("--list", action="store_true", help="list the studies")
    parser.add_argument("study", nargs="?", help="name of the study; see --list")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="of the study; NAME --help shows them")
    arguments = parser.parse_args(argv)
    if arguments.list:
        return print_studies()
    if arguments.study is None:
        parser.error("a study is wanted; --list shows them all")
    return run_study(arguments.study, arguments.flags)


def run_study(name, argv):
    study = study_named(name)
    parser = argparse.ArgumentParser(prog=f"python -m training.studies {name}", description=STUDIES[name])
    parser.add_argument("--workdir", type=Path, default=Path("runs") / name, help=f"default: runs/{name}")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="also put the result into FOLDER")
    study.add_flags(parser)
    flags = vars(parser.parse_args(argv))
    workdir, record = flags["workdir"], flags["record"]
    result = study.run(**flags)
    study.show(result)
    for each in result if isinstance(result, list) else [result]:
        name = each.get("study", name)
        print(f"result:   {workdir / f'{name}.json'}\nfigure:   {workdir / f'{name}.png'}")
        if record:
            print(f"recorded: {record / f'{name}.json'}")
    return 0


def print_studies():
    from rich.console import Console
    from rich.table import Table

    table = Table("study", "what")
    for name, summary in STUDIES.items():
        table.add_row(name, summary)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
