"""What the numbers of the recipes stand beside: the papers' own, those of other libraries, and what is asked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A published number: the metric, its value, the spread it was reported with, 0 for none, and where."""

    metric: str
    value: float
    standard_deviation: float
    source: str

    def text(self):
        spread = f" +- {self.standard_deviation:.2f}" if self.standard_deviation else ""
        return f"{self.value:.2f}{spread}"


@dataclass(frozen=True)
class Baseline:
    """A number that the evaluation obtains beside the model's own: the two metrics, and what the other one is of."""

    metric: str
    reference_metric: str
    source: str


VAN_DEN_OORD = "van den Oord et al. 2016, table 4"
DAVIDSON = "Davidson et al. 2018, table 1"
BURDA = "Burda et al. 2015, table 1, after 3280 epochs"

REFERENCES = {
    "vae_mnist": Reference("log_prob", -93.84, 0.30, DAVIDSON),
    "vae_mnist_d40": Reference("log_prob", -88.93, 0.30, DAVIDSON),
    **{
        f"{model}_binarized_mnist{form}": Reference("log_prob", value, 0.0, VAN_DEN_OORD)
        for model, value in (("diagonal_bilstm", -80.75), ("row_lstm", -80.54), ("pixel_cnn", -81.30))
        for form in ("", "_short")
    },
    "hyperspherical_vae_mnist": Reference("log_prob", -93.16, 0.31, DAVIDSON),
    "iwae_mnist_k1_short": Reference("log_prob", -86.76, 0.0, BURDA),
    "iwae_mnist_k5_short": Reference("log_prob", -85.54, 0.0, BURDA),
    "iwae_mnist_k50_short": Reference("log_prob", -84.78, 0.0, BURDA),
}

BASELINES = {
    "linear_vae_digits": Baseline("train_log_prob", "ppca_train_log_prob", "probabilistic PCA, in closed form"),
    "pca_mnist": Baseline("log_prob", "scikit_learn_log_prob", "scikit-learn's PCA"),
    "kmeans_mnist": Baseline("inertia", "scikit_learn_inertia", "scikit-learn's KMeans, as many runs"),
}

# What is asked of a recipe besides: metric -> the bound, in words, "median" where it is that of several seeds or draws
# of labels; "" where the number is reported without one.
ASKED = {
    "gan_ring": {"modes": "8", "reverse_kl": "<= 0.01"},
    "gan_mnist": {
        "smallest_class_frequency": ">= 0.05",
        "largest_class_frequency": "<= 0.15",
        "classifier_accuracy": ">= 0.99",
    },
    "diagonal_bilstm_binarized_mnist_short": {"log_prob": ">= -82.0"},
    **{
        f"{model}_binarized_mnist_short": {"log_prob": ">= -83.0"}
        for model in ("row_lstm", "pixel_cnn", "gated_pixel_cnn")
    },
    "vae_binarized_mnist": {"log_prob": ""},
    "vampprior_binarized_mnist": {"log_prob": "1.5 above `vae_binarized_mnist`"},
    "aae_mnist": {"discriminator_accuracy": "0.5 +- 0.1", "mmd_squared": "", "parzen_log_likelihood": ">= 300"},
    "supervised_aae_mnist": {"recognized": ">= 0.95"},
    "conditional_aae_mnist": {"recognized": ">= 0.95"},
    "supervised_vae_mnist": {"recognized": ">= 0.95"},
    "semi_supervised_aae_mnist": {"classification_error": "<= 0.04"},
    "semi_supervised_aae_mnist_100": {"classification_error": "median"},
    "aae_clusters_mnist": {"clustering_error": "median <= 0.15"},
    "semi_supervised_vae_mnist": {"classification_error": "<= 0.06"},
    "semi_supervised_vae_mnist_100": {"classification_error": "median"},
}
