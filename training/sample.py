"""python -m training.sample RUN --num-samples 64 --seed 0 --out grid.png: a picture of samples of a trained run.

A model with labels is shown with a column for each class; --label 3 asks for one class alone.
"""

import argparse
import sys
from pathlib import Path

from training.command_line import command


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.sample", description="Draw samples of a trained run.")
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("--num-samples", type=int, default=64, help="how many (default: 64); in whole rows of classes")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same picture (default: 0)")
    parser.add_argument("--label", type=int, help="of a model with labels: the class of all (default: each in turn)")
    parser.add_argument("--out", type=Path, default=Path("grid.png"), help="the PNG to write (default: grid.png)")
    arguments = parser.parse_args(argv)

    from training.data import load_data
    from training.pictures import draw_by_class, save_samples
    from training.run_folder import RunFolder

    if not arguments.out.parent.is_dir():
        raise ValueError(f"There is no folder {arguments.out.parent} to write {arguments.out.name} in.")
    run = RunFolder(arguments.run)
    recipe, model = run.recipe(), run.model()
    samples, columns = draw_by_class(model, arguments.num_samples, arguments.seed, arguments.label)
    are_points = samples.ndim == 2  # which are shown beside the data
    data = load_data(recipe.data, recipe.data_path).gray("validation") if are_points else None
    save_samples(samples, data, arguments.out, columns)
    print(f"samples: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
