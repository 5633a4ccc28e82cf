"""python -m training.evaluate RUN: measure a trained run on the test split; writes RUN/evaluation.json."""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

from training.command_line import command

UNITS = {  # of the metrics that have one
    **dict.fromkeys(("log_prob", "log_prob_standard_error", "elbo", "nll", "kl", "kl_per_dimension"), "nats"),
    "bits_per_dimension": "bits",
    **dict.fromkeys(("train_log_prob", "ppca_log_prob", "ppca_train_log_prob", "scikit_learn_log_prob"), "nats"),
    **dict.fromkeys(("reverse_kl", "reverse_kl_floor"), "nats"),
    **dict.fromkeys(("effective_sample_size", "num_importance_samples", "num_samples"), "samples"),
    **dict.fromkeys(("high_quality", "high_quality_ceiling", "class_frequencies"), "share of the samples"),
    **dict.fromkeys(("smallest_class_frequency", "largest_class_frequency"), "share of the samples"),
    **dict.fromkeys(("classifier_confidence", "classifier_test_confidence"), "mean probability"),
    "classifier_accuracy": "share of the test images",
    "sigma_ratio": "true sigma",
    **dict.fromkeys(("noise_scale", "ppca_noise_scale"), "pixel value"),
    **dict.fromkeys(("reconstruction_error", "noise_variance"), "squared pixel value"),
    **dict.fromkeys(("parzen_log_likelihood", "parzen_standard_error", "cross_entropy"), "nats"),
    "parzen_sigma": "pixel value",
    **dict.fromkeys(("error", "classification_error", "clustering_error"), "share of the test images"),
    **dict.fromkeys(("majority_clustering_error", "chance"), "share of the test images"),
    **dict.fromkeys(("linear_class_accuracy", "neighbours_class_accuracy"), "share of the test images"),
    **dict.fromkeys(("recognized", "smallest_class_recognized"), "share of the samples"),
    **dict.fromkeys(("mean_squared_distance", "inertia", "scikit_learn_inertia"), "squared distance"),
}


def evaluate(workdir, num_importance_samples=None, with_scikit_learn=False, classifier=None):
    """Measure the run in `workdir` on its test split; return and write what evaluation.json holds.

    A dict: recipe, seed, data (the identity of the test split), versions, minutes (of the training),
    evaluation_minutes, epochs, and metrics (see training/evaluation/: likelihood, conditional, linear, clusters,
    adversarial, autoencoders).
    """
    from training.data import load_data
    from training.files import write_json
    from training.run_folder import PACKAGES, RunFolder, best_epoch, identities, refuse_other
    from zoo.version import versions

    run = RunFolder(workdir)
    recipe, model = run.recipe(), run.model()
    data = load_data(recipe.data, recipe.data_path)
    refuse_other("data", run.path, run.stamped()["data"], identities(data, recipe))
    history, seconds = run.progress()

    started = time.monotonic()
    if num_importance_samples:
        recipe = dataclasses.replace(recipe, num_importance_samples=num_importance_samples)
    metrics = metrics_of(model, data, recipe, history, with_scikit_learn, classifier)
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


def metrics_of(model, data, recipe, history, with_scikit_learn=False, classifier=None):
    """The metrics of a model, by its family, on the test split: numbers, None where there is none, lists of numbers."""
    import zoo
    from training.evaluation import adversarial, autoencoders, autoregressive, clusters, conditional, likelihood, linear
    from zoo.aae import AdversarialAutoencoder
    from zoo.supervised_vae import GivenLabels

    train = data.examples("train", recipe.binarization, recipe.seed).astype("float32")
    test = data.examples("test", recipe.binarization).astype("float32")
    if isinstance(model, AdversarialAutoencoder):
        return autoencoders.autoencoder_metrics(model, data, recipe.binarization, classifier)
    if isinstance(model, GivenLabels):
        how = (recipe.binarization, recipe.num_importance_samples)
        return conditional.conditional_metrics(model, data, *how, classifier)
    if isinstance(model, zoo.Adversarial):
        return adversarial.gan_metrics(model, test, data, recipe.examples_per_step, classifier)
    if isinstance(model, zoo.autoregressive.Autoregressive):
        return autoregressive.autoregressive_metrics(model, data, recipe.binarization, classifier)
    if isinstance(model, zoo.PCA):
        metrics = linear.pca_metrics(model, test)
        return metrics | (linear.scikit_learn_log_prob(model, train, test) if with_scikit_learn else {})
    if isinstance(model, zoo.KMeans):
        metrics = clusters.kmeans_metrics(model, train, test, history)
        metrics |= clusters.against_labels(model, data, train, test)
        return metrics | (clusters.scikit_learn_inertia(model, train) if with_scikit_learn else {})
    metrics = likelihood.likelihood(model, test, recipe.num_importance_samples)
    if not isinstance(model, zoo.HypersphericalVAE):  # whose units have no mean of their own
        metrics |= likelihood.latent_diagnostics(model, test)
    if not isinstance(model, zoo.IWAE):  # whose loss is no sum with a KL
        metrics["effective_beta"] = likelihood.effective_beta(model, test)
    return metrics | (linear.beside_ppca(model, train, test) if linear.is_linear(model) else {})


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Measure a trained run.")
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument(
        "--num-importance-samples", type=int, help="importance samples an image (default: the recipe's)"
    )
    parser.add_argument(
        "--with-scikit-learn",
        action="store_true",
        help="also fit scikit-learn's PCA or KMeans (minutes) to the same data",
    )
    parser.add_argument(
        "--classifier",
        type=Path,
        metavar="FOLDER",
        help="of samples of MNIST and Fashion-MNIST: where the classifier is kept (default: runs/classifier_DATA)",
    )
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="also put the result in FOLDER/RECIPE.json")
    arguments = parser.parse_args(argv)

    from training.results import record

    evaluation = evaluate(
        arguments.run, arguments.num_importance_samples, arguments.with_scikit_learn, arguments.classifier
    )
    print_evaluation(evaluation)
    print(f"evaluation: {arguments.run / 'evaluation.json'}")
    if arguments.record:
        print(f"recorded:   {record(arguments.run, arguments.record)}")
    return 0


def print_evaluation(evaluation):
    from rich.console import Console
    from rich.table import Table

    data = evaluation["data"]
    table = Table("metric", "value", "unit", title=f"{evaluation['recipe']}, seed {evaluation['seed']}")
    for name, value in evaluation["metrics"].items():
        table.add_row(name, value_text(value), UNITS.get(name, ""))
    table.caption = (
        f"{data['name']} {data['split']}, {data['num_examples']} examples, {data['binarization']} binarization; "
        "nats and distances are of whole examples"
    )
    Console().print(table)


def value_text(value):
    if value is None:
        return "none"
    if isinstance(value, list):
        return " ".join(f"{each:.3f}" for each in value)
    return f"{value:.4g}" if abs(value) < 1 else f"{value:,.3f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
