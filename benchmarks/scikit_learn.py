"""PCA and k-means against scikit-learn on the same arrays, and the memory of both as a stream grows."""

import subprocess
import sys

import numpy as np

import zoo
from benchmarks.timing import Comparison, interleaved, seconds_of

PAUSE = 0.5  # seconds
LATENT_DIM = 50
CLUSTERS = (10, 100)
FULL, COVARIANCE, RANDOMIZED = "scikit-learn, full", "scikit-learn, covariance_eigh", "scikit-learn, randomized"
LLOYD = "scikit-learn, lloyd"
SEED = 0


def compare_pca(images, rounds):
    """The `Comparison` of each solver: exact, then randomized, with the error of the explained variance in its note."""
    from sklearn.decomposition import PCA

    rows, latent_dim = images.reshape(len(images), -1), min(LATENT_DIM, images[0].size // 2)
    found = {}

    def ours(name, **arguments):
        model = zoo.PCA(images.shape[1:], latent_dim, **arguments)

        def fit():
            model.adapt(images)
            found[name] = model.explained_variance.numpy()

        return lambda: seconds_of(fit)

    def theirs(name, solver):
        def fit():
            found[name] = PCA(latent_dim, svd_solver=solver, random_state=SEED).fit(rows).explained_variance_

        return lambda: seconds_of(fit)

    exact = PCA(latent_dim, svd_solver="covariance_eigh").fit(rows.astype("float64")).explained_variance_
    size = f"{len(rows):,} x {rows.shape[1]}, float32, {latent_dim} components"
    solvers = {
        "exact": (
            {"zoo, float64": {"solver": "covariance"}},
            {FULL: "full", COVARIANCE: "covariance_eigh"},
            {FULL: 1.0},
        ),
        "randomized": ({"zoo, 5 passes": {"solver": "randomized"}}, {RANDOMIZED: "randomized"}, {RANDOMIZED: 1.0}),
    }
    for title, (own, others, asked) in solvers.items():
        contenders = {name: ours(name, **arguments) for name, arguments in own.items()}
        contenders |= {name: theirs(name, solver) for name, solver in others.items()}
        seconds = interleaved(contenders, rounds, PAUSE)
        errors = ", ".join(f"{name} {np.abs(found[name] / exact - 1).max():.1e}" for name in contenders)
        note = f"{size}. Largest relative error of an explained variance: {errors}."
        yield Comparison(f"PCA, {title}", "s", 1.0, seconds, asked, note)


def compare_kmeans(images, rounds, iterations):
    """For each number of clusters: Lloyd's iterations from the same centroids, then all of it, with k-means++."""
    from sklearn.cluster import KMeans

    rows = images.reshape(len(images), -1)
    for clusters in CLUSTERS:
        for starts in ("the same centroids", "its own k-means++"):
            initial = images[:clusters] if starts == "the same centroids" else None
            model = zoo.KMeans(images.shape[1:], clusters, seed=SEED)
            model.compile()
            objective = {}

            def ours(model=model, initial=initial):
                if initial is None:
                    model.is_started.assign(0)
                else:
                    model.start_from(initial)
                model.fit(images, epochs=iterations, verbose=0)

            def theirs(initial=initial, clusters=clusters, objective=objective):
                init = "k-means++" if initial is None else initial.reshape(clusters, -1)
                kmeans = KMeans(clusters, init=init, n_init=1, max_iter=iterations, tol=0, random_state=SEED).fit(rows)
                objective[LLOYD] = kmeans.inertia_ / len(rows)

            contenders = {"zoo": lambda ours=ours: seconds_of(ours), LLOYD: lambda theirs=theirs: seconds_of(theirs)}
            seconds = interleaved(contenders, rounds, PAUSE)
            objective["zoo"] = model.evaluate(images, batch_size=1000, verbose=0)
            found = ", ".join(f"{name} {value:.4f}" for name, value in objective.items())
            note = f"{len(rows):,} x {rows.shape[1]}, float32, {iterations} iterations. Mean squared distance: {found}."
            yield Comparison(f"k-means, {clusters} clusters, from {starts}", "s", 1.0, seconds, {LLOYD: 1.0}, note)


# Memory.

STREAMED = """
import re, sys
import numpy as np, tensorflow as tf
import zoo

def blocks():
    generator = np.random.default_rng(0)
    for _ in range(int(sys.argv[2]) // 1000):
        yield generator.random((1000, 28, 28, 1), dtype="float32")

stream = tf.data.Dataset.from_generator(blocks, output_signature=tf.TensorSpec((1000, 28, 28, 1), tf.float32))
if sys.argv[1] == "PCA":
    zoo.PCA((28, 28, 1), 50).adapt(stream)
else:
    model = zoo.KMeans((28, 28, 1), 10)
    model.compile()
    model.fit(stream, epochs=2, verbose=0)
print("peak", int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024)
"""


def peak_megabytes(model, examples):
    """Peak resident memory of a process that fits `model` ("PCA" or "KMeans") to a generator of 28x28 noise.

    From Linux' /proc: what `resource.getrusage` calls the peak is at least that of the process which started it.
    """
    command = [sys.executable, "-c", STREAMED, model, str(examples)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(output.split("peak")[1])


def measure_memory(examples):
    """A row for each model: its peak on `examples` and on ten times as many."""
    for model in ("PCA", "KMeans"):
        small, large = peak_megabytes(model, examples), peak_megabytes(model, 10 * examples)
        yield {
            "title": f"{model}, a generator of 28x28 images",
            "examples": [examples, 10 * examples],
            "peak_megabytes": [round(small), round(large)],
            "ratio": large / small,
            "asked_ratio": 1.1,
        }
