"""python -m training RECIPE [--workdir DIR] [a flag for each field of Recipe]; python -m training --list"""

import argparse
import dataclasses
import sys
from pathlib import Path

from training.command_line import add_flags, command

NO_FLAGS = ("name", "summary", "model")  # of a recipe: they are what it is


@command
def main(argv=None):
    from training.recipe import Recipe, settings_of
    from training.recipes import recipe_named

    parser = argparse.ArgumentParser(prog="python -m training", description="Train a recipe in a run folder.")
    parser.add_argument("recipe", nargs="?", help="name of the recipe; see --list")
    parser.add_argument("--list", action="store_true", help="list the recipes")
    parser.add_argument("--workdir", type=Path, help="the run folder (default: runs/RECIPE); the same command resumes")
    add_flags(parser, Recipe, but=NO_FLAGS)
    arguments = vars(parser.parse_args(argv))
    listed, name, workdir = (arguments.pop(key) for key in ("list", "recipe", "workdir"))
    if listed:
        return print_recipes()
    if name is None:
        parser.error("a recipe is wanted; --list shows them all")
    recipe = recipe_named(name)
    refuse_unused(arguments, name, [each for each in settings_of(recipe.model) if each not in NO_FLAGS])
    recipe = dataclasses.replace(recipe, **tuples(arguments))

    from training.train import train

    run = train(recipe, workdir or Path("runs") / name)
    print(f"model:   {run.model_path}\nsamples: {run.samples_path}")
    for path in run.figures():
        print(f"figure:  {path}")
    return 0


def refuse_unused(arguments, name, settings):
    unused = [flag(each) for each in arguments if each not in settings]
    if unused:
        raise ValueError(f"{name} takes no {', '.join(unused)}; its settings are {', '.join(map(flag, settings))}.")


def flag(name):
    return "--" + name.replace("_", "-")


def tuples(arguments):
    return {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}


def print_recipes():
    from rich.console import Console
    from rich.table import Column, Table

    from training.published import REFERENCES
    from training.recipes import RECIPES

    table = Table(Column("recipe", min_width=max(map(len, RECIPES))), "what", "published")
    for recipe in RECIPES.values():
        reference = REFERENCES.get(recipe.name)
        published = f"{reference.metric} {reference.text()}" if reference else ""
        table.add_row(recipe.name, recipe.summary, published)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
