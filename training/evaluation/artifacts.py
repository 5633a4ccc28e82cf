"""Samples of an exported artifact, drawn by ONNX Runtime: what those who deploy it see."""

import numpy as np

BATCH = 500


def draw(folder, num_samples, seed=0):
    """(samples float32 [num_samples, height, width, channels], what they came from) of the artifact in `folder`.

    Of the endpoint that turns noise into images; labels, where it takes any, come in turn.

    Raises:
        ValueError: one sentence, for a folder that is no artifact, or one without such an endpoint.
    """
    from export import manifest as artifact
    from export import verify

    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}; name the folder of an artifact.")
    artifact.check_checksums(folder)
    endpoints = artifact.read_manifest(folder)["endpoints"]
    names = [name for name, description in endpoints.items() if artifact.turns_noise_into_images(description)]
    if not names:
        raise ValueError(
            f"{folder} has no endpoint that turns noise into images; its endpoints are {', '.join(endpoints)}."
        )
    name = names[0]
    run = verify.open_onnx(folder, name, endpoints[name])["ORT_ENABLE_ALL"]
    draws, parts = np.random.default_rng(seed), []
    for start in range(0, num_samples, BATCH):
        count = min(BATCH, num_samples - start)
        inputs = {key: drawn(draws, each, start, count) for key, each in endpoints[name]["inputs"].items()}
        parts.append(next(iter(run(inputs).values())))  # the graph's first output holds the images
    return np.concatenate(parts), {"artifact": folder.name, "endpoint": name}


def drawn(draws, each, start, count):
    shape = [count, *each["shape"][1:]]
    if each["values"] == "label":
        return np.arange(start, start + count) % each["num_classes"]
    return (
        draws.standard_normal(shape, "float32")
        if each["values"] == "standard_normal"
        else draws.random(shape, "float32")
    )
