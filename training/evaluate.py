"""python -m training.evaluate RUN: measure a trained run on the test split; writes RUN/evaluation.json.

With --artifact it measures the samples of the exported ONNX in the place of the model's, and writes
RUN/evaluation_artifact.json. Beside either lies nearest.png: samples, each with the training images nearest to it.
"""

import argparse
import dataclasses
import functools
import sys
import time
from pathlib import Path

import numpy as np

from training.command_line import command, show_table

ROWS = 10  # samples that are shown beside training images

UNITS = {  # of the metrics that have one
    **dict.fromkeys(("log_prob", "log_prob_standard_error", "elbo", "nll", "kl", "kl_per_dimension"), "nats"),
    "validation_nll": "nats, of each epoch",
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
    "precision": "share of the samples",
    **dict.fromkeys(("recall", "coverage"), "share of the test images"),
    "nearer_than_test": "share of the pairs",
    **dict.fromkeys(("birthday_batch", "birthday_batch_of_test"), "draws"),
    **dict.fromkeys(("birthday_support", "birthday_support_of_test"), "examples"),
    **dict.fromkeys(("mean_squared_distance", "inertia", "scikit_learn_inertia"), "squared distance"),
}


def evaluate(workdir, num_importance_samples=None, with_scikit_learn=False, network=None, artifact=None):
    """Measure the run in `workdir` on its test split; return and write what evaluation.json holds.

    A dict: recipe, seed, data (the identity of the test split), versions, minutes (of the training),
    evaluation_minutes, epochs, metrics (see training/evaluation/: likelihood, conditional, linear, clusters,
    adversarial, autoencoders, autoregressive, and quality, of the samples), seconds_per_sample, compilation included,
    parameters, and features: name and sha256 of the network that the quality is measured on, or None.

    Args:
        network: path of an ONNX model to measure the quality of samples on (default: the classifier of the data).
        artifact: folder of an exported artifact, the samples of which are measured in the place of the model's; nothing
            else is then.
    """
    from training.data import load_data
    from training.evaluation import artifacts, quality
    from training.evaluation.reconstruction import reconstruction_error
    from training.files import write_json
    from training.run_folder import PACKAGES, RunFolder, best_epoch, identities, refuse_other
    from zoo.version import versions

    run = RunFolder(workdir)
    recipe = run.recipe()
    history, seconds, _ = run.progress()
    data = load_data(recipe.data, recipe.data_path)
    refuse_other("data", run.path, run.stamped()["data"], identities(data, recipe))

    started = time.monotonic()
    if num_importance_samples:
        recipe = dataclasses.replace(recipe, num_importance_samples=num_importance_samples)
    network = None if data.is_points else quality.network_for(data, network)
    if artifact:
        metrics, draw, parameters = {}, functools.partial(artifacts.draw, Path(artifact), quality.NUM_IMAGES), None
    else:
        model = run.model()
        metrics = metrics_of(model, data, recipe, history, with_scikit_learn)
        if hasattr(model, "reconstruct") and "reconstruction_error" not in metrics:
            metrics["reconstruction_error"] = reconstruction_error(model, data, recipe.binarization)
        draw, parameters = functools.partial(draw_samples, model), model.count_params()
    drawing = time.monotonic()
    samples, origin = draw()
    drawing = (time.monotonic() - drawing) / len(samples)
    seen = None if network is None else quality.seen(network, samples, data, recipe.binarization)
    if not data.is_points:
        metrics |= quality.sample_metrics(samples, data, recipe.binarization, seen)
    if seen:
        save_nearest(samples, data, recipe.binarization, seen, run.path / "nearest.png")
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
        "features": network and {"network": network.path.name, "sha256": network.sha256},
        "seconds_per_sample": drawing,
        "parameters": parameters,
        **origin,
        "metrics": metrics,
    }
    write_json(run.path / "evaluation_artifact.json" if artifact else run.evaluation_path, evaluation)
    return evaluation


def draw_samples(model):
    """(float32 [10,000, *event_shape], nothing to say of them); of a model with labels of each class as many."""
    from training.evaluation.quality import NUM_IMAGES, SAMPLE_SEED

    labels = {} if model.labels is None else {"labels": np.arange(NUM_IMAGES) % model.labels.num_classes}
    return model.sample(NUM_IMAGES, seed=SAMPLE_SEED, **labels), {}


def save_nearest(samples, data, binarization, seen, path):
    """A picture with a row for each of 10 samples: the sample, then the 7 training images of the nearest features."""
    from training.evaluation import neighbours, quality
    from training.pictures import COLUMNS, save_grid

    shown = np.clip(samples[:ROWS], 0.0, 1.0)
    train = quality.real_images(data, "train", binarization, samples)
    of_shown, of_train = seen["samples"]["features"][:ROWS], seen["train"]["features"]
    order = neighbours.nearest_of_each(of_shown, of_train, COLUMNS - 1)
    save_grid(np.concatenate([[sample, *train[near]] for sample, near in zip(shown, order, strict=True)]), path)


def metrics_of(model, data, recipe, history, with_scikit_learn=False):
    """The metrics of a model, by its family, on the test split: numbers, None where there is none, lists of numbers."""
    import zoo
    from training.evaluation import (
        adversarial,
        autoencoders,
        autoregressive,
        clusters,
        conditional,
        latent,
        likelihood,
        linear,
    )
    from zoo.adversarial_autoencoder import AdversarialAutoencoder
    from zoo.supervised_vae import GivenLabels

    train = data.examples("train", recipe.binarization, recipe.seed).astype("float32")
    test = data.examples("test", recipe.binarization).astype("float32")
    if isinstance(model, AdversarialAutoencoder):
        return autoencoders.autoencoder_metrics(model, data, recipe.binarization)
    if isinstance(model, GivenLabels):
        how = (recipe.binarization, recipe.num_importance_samples)
        return conditional.conditional_metrics(model, data, *how)
    if isinstance(model, zoo.Adversarial):
        return adversarial.gan_metrics(model, test, data, recipe.examples_per_step)
    if isinstance(model, zoo.autoregressive.Autoregressive):
        return autoregressive.autoregressive_metrics(model, data, recipe.binarization, history)
    if isinstance(model, zoo.PCA):
        metrics = linear.pca_metrics(model, test)
        return metrics | (linear.scikit_learn_log_prob(model, train, test) if with_scikit_learn else {})
    if isinstance(model, zoo.KMeans):
        metrics = clusters.kmeans_metrics(model, train, test, history)
        metrics |= clusters.against_labels(model, data, train, test)
        return metrics | (clusters.scikit_learn_inertia(model, train) if with_scikit_learn else {})
    metrics = likelihood.likelihood(model, test, recipe.num_importance_samples)
    if data.labels:
        metrics |= latent.latent_metrics(model, data, recipe.binarization)
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
        "--features",
        type=Path,
        metavar="ONNX",
        help="a model of yours, of images float32 [N, height, width, channels] in [0, 1], whose first output the "
        "distances are measured on (default: the classifier of the data)",
    )
    parser.add_argument(
        "--artifact", type=Path, metavar="DIR", help="measure samples of this exported artifact, not of the model"
    )
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="also put the result in FOLDER/RECIPE.json")
    arguments = parser.parse_args(argv)

    from training.results import record

    if arguments.artifact and arguments.record:
        raise ValueError("--record is of a model; leave it out with --artifact.")
    evaluation = evaluate(
        arguments.run,
        arguments.num_importance_samples,
        arguments.with_scikit_learn,
        arguments.features,
        arguments.artifact,
    )
    print_evaluation(evaluation)
    print(f"evaluation: {arguments.run / ('evaluation_artifact.json' if arguments.artifact else 'evaluation.json')}")
    if arguments.record:
        print(f"recorded:   {record(arguments.run, arguments.record)}")
    return 0


def print_evaluation(evaluation):
    data = evaluation["data"]
    metrics = ([name, value_text(value), UNITS.get(name, "")] for name, value in evaluation["metrics"].items())
    caption = (
        f"{data['name']} {data['split']}, {data['num_examples']} examples, {data['binarization']} binarization; "
        "nats and distances are of whole examples"
    )
    caption += f"; {1e3 * evaluation['seconds_per_sample']:.2g} ms a sample"
    if evaluation["features"]:
        caption += "; features of {network}, SHA-256 {sha256:.12}...".format(**evaluation["features"])
    show_table(f"{evaluation['recipe']}, seed {evaluation['seed']}", [["metric", "value", "unit"], *metrics], caption)


def value_text(value):
    if value is None:
        return "none"
    if isinstance(value, list):
        return " ".join(f"{each:.3f}" for each in value)
    return f"{value:.4g}" if abs(value) < 1 else f"{value:,.3f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
