"""The figures and tables of the field as runnable studies: python -m training.studies NAME; --list.

A study is a module here with
    add_flags(parser)       its own flags, beside --workdir and --record
    run(workdir, **flags)   the study itself; returns and writes WORKDIR/NAME.json, with WORKDIR/NAME.png beside, where
                            NAME is what the result says at "study", if it is not the name of the module; a study of
                            several results returns a list of them
    show(result)            the result as a table in the terminal
and, where the README shows it, table_rows(result), whose first row is the header, and caption(result).
"""

import importlib
from pathlib import Path

STUDIES = {
    "completion": "the lower halves of digits, drawn by an autoregressive model (van den Oord et al. 2016)",
    "density_ratio": "the ratio of two densities by a classifier: calibration, unequal samples, the density chasm",
    "dirac_gan": "which objectives converge on the smallest GAN, with and without R1 (Mescheder et al. 2018)",
    "latent_spaces": "2-D codes of VAE, SupervisedVAE, HypersphericalVAE, AAE: what they tell about the class",
    "mode_collapse": "GANs on a ring of 8 and a grid of 25 modes: how many they find (VEEGAN and PacGAN, corrected)",
    "optimal_discriminator": "a trained discriminator meets log p/q, its value 2 JSD - log 4 (Goodfellow et al. 2014)",
    "parzen": "k-means 'beats' real images by the Parzen-window log-likelihood (Theis et al. 2016, table 1)",
    "stacked_mnist": "GANs on 1,000 modes, triples of digits, with a weak discriminator (Metz et al. 2017)",
    "vanishing_gradient": "the generator's gradients at the optimal discriminator (Arjovsky and Bottou 2017)",
    "zoo_table": "every family on MNIST and Fashion-MNIST: likelihood, quality of samples, cost",
}


def study_named(name):
    """The module of a study; a ValueError with the near names if there is none."""
    from training.data import near

    if name not in STUDIES:
        raise ValueError(f"There is no study {name!r}{near(name, STUDIES)}; {', '.join(STUDIES)} is wanted.")
    return importlib.import_module(f"training.studies.{name}")


def refuse_unpublished(protocol, published):
    """A ValueError if a result of `protocol` would stand among the recorded ones, which are of `published`."""
    if protocol != published:
        raise ValueError("These are not the settings of the recorded results; leave --record out.")


def write_result(result, workdir, record=None, draw=None):
    """Write WORKDIR/NAME.json, where NAME is the study of the result, and with `record` RECORD/NAME.json.

    draw: path -> None, draws a figure that belongs to the result, NAME.png beside each.
    """
    from training.files import write_json

    for folder in map(Path, filter(None, (workdir, record))):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{result['study']}.json", result)
        if draw:
            draw(folder / f"{result['study']}.png")
