"""The generator's gradients at the optimal discriminator, over the distance of two Gaussians.

p = N(0, 1) and the generator x = theta + z, z ~ N(0, 1), so that q = N(theta, 1). At the optimal discriminator, whose
logits D*(x) = log p(x) - log q(x) do not move with theta,

    minimax          d/dtheta E_z log(1 - sigmoid(D*(theta + z))) = d/dtheta 2 JSD(p, q)                   -> 0
    non-saturating   d/dtheta E_z -log sigmoid(D*(theta + z))     = d/dtheta [KL(q || p) - 2 JSD(p, q)]    -> theta

as theta grows: the better the discriminator, the less the minimax generator learns (Goodfellow et al. 2014, section 3;
Arjovsky and Bottou 2017, theorems 2.4 and 2.5). The losses are those of `zoo.objectives`, their gradients by automatic
differentiation, the expectations by quadrature in float64.
"""

import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from training.command_line import show_table
from training.pictures import save_figure
from training.run_folder import PACKAGES
from training.studies import write_result
from zoo.divergences import jensen_shannon, optimal_logits, optimal_value
from zoo.objectives import OBJECTIVES
from zoo.version import versions

# theta -> (JSD, V(D*), minimax gradient, non-saturating gradient), by quadrature without the code of this project
GOLDEN = {
    1.0: (0.111421, -1.163451, 3.980e-1, 0.60203),
    2.0: (0.336831, -0.712633, 4.496e-1, 1.55040),
    4.0: (0.632720, -0.120854, 1.372e-1, 3.86281),
    6.0: (0.689298, -0.007698, 1.245e-2, 5.98755),
    8.0: (0.693054, -0.000187, 3.929e-4, 7.99961),
    10.0: (0.693146, -0.000002, 4.464e-6, 10.0000),
}
CURVE = np.linspace(0.1, 12.0, 60)  # the distances of the figure
# The trapezoidal rule over z ~ N(0, 1): of smooth integrands its error is far below float64's rounding.
Z = np.linspace(-12.0, 12.0, 2401)
WEIGHTS = np.exp(-0.5 * Z**2) / np.sqrt(2.0 * np.pi) * (Z[1] - Z[0])


def normal(loc):
    return tfd.Normal(tf.cast(loc, tf.float64), tf.constant(1.0, tf.float64))


def generator_gradient(objective, theta):
    """d/dtheta of the generator's loss under the named objective, at D* of the present theta: a float."""
    discriminate = optimal_logits(normal(0.0), normal(theta))
    location = tf.constant(theta, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(location)
        losses = OBJECTIVES[objective].generator(discriminate(Z), discriminate(location + Z))
        loss = tf.reduce_sum(WEIGHTS * losses)
    return float(tape.gradient(loss, location))


def measure(theta):
    """One row of the result."""
    p, q = normal(0.0), normal(theta)
    return {
        "theta": float(theta),
        "jensen_shannon": float(jensen_shannon(p, q)),
        "optimal_value": float(optimal_value(p, q)),
        "minimax": generator_gradient("minimax", theta),
        "non_saturating": generator_gradient("non_saturating", theta),
    }


def add_flags(parser):
    """None: the study takes seconds and draws nothing."""


def run(workdir, record=None):
    """Both gradients; write WORKDIR/vanishing_gradient.json and .png, and with `record` RECORD/vanishing_gradient.json.

    Returns what the JSON holds: versions, seconds, rows (at the distances of `GOLDEN`, with the golden numbers) and
    curve (at those of the figure). Each row: theta, jensen_shannon, optimal_value, minimax, non_saturating.
    """
    started = time.monotonic()
    names = ("jensen_shannon", "optimal_value", "minimax", "non_saturating")
    rows = [{**measure(theta), "golden": dict(zip(names, golden, strict=True))} for theta, golden in GOLDEN.items()]
    curve = [measure(theta) for theta in CURVE]
    result = {
        "study": "vanishing_gradient",
        "versions": versions(*PACKAGES),
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
        "curve": curve,
    }
    write_result(result, workdir, record)
    save_figure(draw(rows, curve), Path(workdir) / "vanishing_gradient.png")
    return result


FORMATS = {"jensen_shannon": ".6f", "optimal_value": ".6f", "minimax": ".3e", "non_saturating": ".5f"}


def show(result):
    rows = [["theta", "JSD", "V(D*)", "minimax", "non-saturating"]]
    for row in result["rows"]:
        cells = (f"{row[name]:{form}}\n({row['golden'][name]:{form}})" for name, form in FORMATS.items())
        rows.append([f"{row['theta']:g}", *cells])
    title = "The generator's gradient at the optimal discriminator (golden numbers in brackets)"
    show_table(title, rows, "p = N(0, 1), q = N(theta, 1); the gradients with respect to theta, in nats")


def draw(rows, curve):
    """Left: the discriminator between two densities. Middle: both gradients. Right: what the generator minimizes."""
    from matplotlib import pyplot

    figure, (densities, gradients, divergence) = pyplot.subplots(1, 3, figsize=(14, 4), layout="constrained")
    draw_discriminators(densities)
    theta = [row["theta"] for row in curve]
    for name, label, colour in (("minimax", "minimax", "tab:red"), ("non_saturating", "non-saturating", "tab:blue")):
        gradients.semilogy(theta, [row[name] for row in curve], color=colour, label=label)
        gradients.semilogy(
            [row["theta"] for row in rows], [row["golden"][name] for row in rows], "o", color=colour, fillstyle="none"
        )
    gradients.plot([], [], "ko", fillstyle="none", label="golden numbers")
    gradients.set(xlabel="distance theta", ylabel="gradient", ylim=(1e-7, 100), title="The generator's gradient at D*")
    gradients.legend(loc="lower left")
    divergence.plot(theta, [row["jensen_shannon"] for row in curve], color="tab:red")
    divergence.axhline(np.log(2.0), color="gray", linestyle="--")
    divergence.text(0.2, np.log(2.0) + 0.01, "log 2", color="gray")
    divergence.set(xlabel="distance theta", ylabel="nats", ylim=(0, 0.76), title="JSD(p, q) is flat where they are far")
    return figure


def draw_discriminators(axis):
    x = np.linspace(-4.0, 12.0, 400)
    axis.plot(x, normal(0.0).prob(x), "k", label="p = N(0, 1)")
    for theta, colour in ((2.0, "tab:green"), (8.0, "tab:purple")):
        axis.plot(x, normal(theta).prob(x), color=colour, label=f"q = N({theta:g}, 1)")
        probability = tf.sigmoid(optimal_logits(normal(0.0), normal(theta))(x))
        axis.plot(x, probability, "--", color=colour, label="D* = p/(p + q)")
    axis.set(xlabel="x", title="D* is flat where q is far")
    axis.legend(fontsize=8)
