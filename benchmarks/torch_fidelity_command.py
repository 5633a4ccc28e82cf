"""torch-fidelity's own command, with this project's classifiers among its feature extractors.

    python -m benchmarks.torch_fidelity_command --feature-extractor mnist --fid --input1 ... --input2 ...

All arguments are those of `fidelity` (https://github.com/toshas/torch-fidelity). Inception, its default, is of
photographs, and its weights would have to be fetched.
"""

import torch
from torch_fidelity import fidelity, register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from training.evaluation.features import CLASSIFIED, classifier_of

SMALLEST = 1e-30  # probabilities below are none to a classifier score; their logarithm is finite


class Classifier(FeatureExtractorBase):
    """The classifier called `name`, of RGB images whose three channels are one gray one."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)
        self.network = classifier_of(name)

    @staticmethod
    def get_provided_features_list():
        return "features", "log_probabilities"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "log_probabilities" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled():
        return False

    def forward(self, images):
        """uint8 [N, 3, height, width] -> a tensor of each of `features_list`; the softmax of a log is the softmax."""
        gray = (images[:, :1].permute(0, 2, 3, 1).to(torch.float32) / 255.0).numpy()
        found = {"features": self.network.features(gray)} if "features" in self.features_list else {}
        if "log_probabilities" in self.features_list:
            found["log_probabilities"] = self.network.probabilities(gray).clip(SMALLEST)
        tensors = {name: torch.from_numpy(array) for name, array in found.items()}
        return tuple(tensors[name].log() if "log" in name else tensors[name] for name in self.features_list)


for name in CLASSIFIED:
    register_feature_extractor(name, Classifier)

if __name__ == "__main__":
    fidelity.main()
