"""python -m training.evaluate RUN: measure a trained run on the test split; writes RUN/evaluation.json."""

import argparse
import sys
import time
from pathlib import Path

from training.command_line import command


def evaluate(workdir, num_importance_samples=None):
    """Measure the run in `workdir` on its test split; return and write what evaluation.json holds.

    A dict: recipe, seed, data (the identity of the test split), versions, minutes (of the training),
    evaluation_minutes, epochs, and metrics (see `training.evaluation.likelihood`).
    """
    from training.data import load_data
    from training.evaluation.likelihood import effective_beta, latent_diagnostics, likelihood
    from training.files import write_json
    from training.run_folder import PACKAGES, RunFolder, best_epoch, identities, refuse_other
    from zoo.version import versions

    run = RunFolder(workdir)
    recipe, model = run.recipe(), run.model()
    data = load_data(recipe.data, recipe.data_path)
    refuse_other("data", run.path, run.stamped()["data"], identities(data, recipe))
    history, seconds = run.progress()

    started = time.monotonic()
    images = data.binary("test", recipe.binarization)
    metrics = likelihood(model, images, num_importance_samples or recipe.num_importance_samples)
    metrics |= latent_diagnostics(model, images)
    metrics["effective_beta"] = effective_beta(model, images)
    best = best_epoch(history, recipe.warm_up_epochs) if recipe.patience else None
    evaluation = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "data": data.identity("test", recipe.binarization),
        "versions": versions(*PACKAGES),
        "minutes": round(seconds / 60, 2),
        "evaluation_minutes": round((time.monotonic() - started) / 60, 2),
        "epochs": len(history),
        "best_epoch": len(history) if best is None else best + 1,
        "metrics": metrics,
    }
    write_json(run.evaluation_path, evaluation)
    return evaluation


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Measure a trained run.")
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument(
        "--num-importance-samples", type=int, help="importance samples an image (default: the recipe's)"
    )
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="also put the result in FOLDER/RECIPE.json")
    arguments = parser.parse_args(argv)

    from training.results import record

    evaluation = evaluate(arguments.run, arguments.num_importance_samples)
    print_evaluation(evaluation)
    print(f"evaluation: {arguments.run / 'evaluation.json'}")
    if arguments.record:
        print(f"recorded:   {record(arguments.run, arguments.record)}")
    return 0


def print_evaluation(evaluation):
    from rich.console import Console
    from rich.table import Table

    metrics = dict(evaluation["metrics"])
    per_dimension = metrics.pop("kl_per_dimension", [])
    data = evaluation["data"]
    table = Table("metric", "value", title=f"{evaluation['recipe']}, seed {evaluation['seed']}")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4g}" if name.endswith("error") else f"{value:,.3f}".rstrip("0").rstrip("."))
    table.add_row("kl per dimension", " ".join(f"{value:.2f}" for value in per_dimension))
    table.caption = f"{data['name']} {data['split']}, {data['num_examples']} images, {data['binarization']}; nats"
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
