"""python -m training.sample RUN --num-samples 64 --seed 0 --out grid.png: a grid of samples of a trained run."""

import argparse
import sys
from pathlib import Path

from training.command_line import command


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.sample", description="Draw samples of a trained run.")
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("--num-samples", type=int, default=64, help="how many (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same picture (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("grid.png"), help="the PNG to write (default: grid.png)")
    arguments = parser.parse_args(argv)

    from training.pictures import save_grid
    from training.run_folder import RunFolder

    if not arguments.out.parent.is_dir():
        raise ValueError(f"There is no folder {arguments.out.parent} to write {arguments.out.name} in.")
    samples = RunFolder(arguments.run).model().sample(arguments.num_samples, seed=arguments.seed)
    save_grid(samples, arguments.out)
    print(f"samples: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
