"""Entropies and divergences in nats, and the discriminator that is optimal between two distributions.

    H(p)        = -sum_x p(x) log p(x)
    H(p, q)     = -sum_x p(x) log q(x)                          = H(p) + KL(p || q)
    KL(p || q)  =  sum_x p(x) log p(x)/q(x)
    JSD(p, q)   = 1/2 KL(p || m) + 1/2 KL(q || m),   m = (p + q)/2
    TV(p, q)    = 1/2 sum_x |p(x) - q(x)|
    D_f(p || q) =  sum_x q(x) f(p(x)/q(x)),          f convex, f(1) = 0

An integral stands for the sum where x is continuous. The discriminator with the highest value

    V(D) = E_p log sigmoid(D(x)) + E_q log(1 - sigmoid(D(x)))

has the logits D*(x) = log p(x) - log q(x), that is sigmoid(D*) = p/(p + q), and V(D*) = 2 JSD(p, q) - log 4
(Goodfellow et al. 2014, proposition 1 and theorem 1).

p and q are both arrays of probabilities along the last axis, or both tfp distributions. Of arrays the sums are exact,
zeros included: 0 log 0 = 0, and KL(p || q) = inf where q(x) = 0 < p(x). Of distributions

    closed form     where tfp has one;
    quadrature      else, of scalar distributions with a finite mean and standard deviation;
    Monte Carlo     with `num_samples`, of any others.

Numbers come in the precision of p and q: ask for float64 where float32's seven digits are too few.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from zoo.base import at_least
from zoo.distributions import stateless_seed

# Quadrature: Gauss-Legendre in panels between the points mean + k stddev, for these k and both distributions.
PANELS = np.concatenate(
    [np.linspace(-40.0, -10.0, 16)[:-1], np.linspace(-10.0, 10.0, 161), np.linspace(10, 40, 16)[1:]]
)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
SMALLEST_MASS = 1e-4  # that quadrature may miss before it is refused
SUM_TOLERANCE = {"float64": 1e-6, "float32": 1e-5}  # how far from 1 probabilities may sum


class Estimate(NamedTuple):
    """A Monte Carlo estimate and its standard error, both of the shape of the estimated quantity."""

    value: tf.Tensor
    standard_error: tf.Tensor


# f-divergences.


@dataclass(frozen=True)
class FDivergence:
    """D_f(p || q) = E_q f(p/q).

    f: of log u, as in `tfp.vi`.
    at_zero: f(0), which the code of `tfp.vi` does not reach for every f.
    dual: the name of the divergence with u f(1/u), that is D_f(q || p).
    """

    f: Callable
    at_zero: float
    dual: str


F_DIVERGENCES = {
    "kl_forward": FDivergence(tfp.vi.kl_forward, 0.0, dual="kl_reverse"),  # KL(p || q)
    "kl_reverse": FDivergence(tfp.vi.kl_reverse, math.inf, dual="kl_forward"),  # KL(q || p)
    "jeffreys": FDivergence(tfp.vi.jeffreys, math.inf, dual="jeffreys"),  # 1/2 KL(p || q) + 1/2 KL(q || p)
    "jensen_shannon": FDivergence(  # 2 JSD: tfp leaves the 1/2 out
        functools.partial(tfp.vi.jensen_shannon, self_normalized=True), math.log(2.0), dual="jensen_shannon"
    ),
    "total_variation": FDivergence(tfp.vi.total_variation, 0.5, dual="total_variation"),
    "squared_hellinger": FDivergence(
        tfp.vi.squared_hellinger, 1.0, dual="squared_hellinger"
    ),  # sum (sqrt p - sqrt q)^2
    "triangular": FDivergence(tfp.vi.triangular, 1.0, dual="triangular"),  # sum (p - q)^2 / (p + q)
    "pearson": FDivergence(tfp.vi.pearson, 1.0, dual="neyman"),  # sum (p - q)^2 / q
    "neyman": FDivergence(  # sum (p - q)^2 / p
        lambda log_u: tf.square(tf.math.expm1(log_u)) * tf.exp(-log_u), math.inf, dual="pearson"
    ),
}


def f_divergence(name, p, q, num_samples=None, seed=0):
    """D_f(p || q) = E_q f(p/q) by its `tfp.vi` name, in nats; see `F_DIVERGENCES`, where "jensen_shannon" is 2 JSD.

    Args:
        name: a key of `F_DIVERGENCES`.
        p, q: probabilities [..., outcomes], or two tfp distributions over the same events.
        num_samples: of distributions: Monte Carlo with so many draws in place of quadrature.
        seed: of these draws.

    Returns:
        Tensor [...], or of the distributions' batch_shape.

    Example:
        >>> float(f_divergence("squared_hellinger", [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]))
        1.0

    Raises:
        ValueError: for arrays that hold no probabilities; for distributions that quadrature does not reach.

    References:
        Csiszar 1967; Nowozin et al. 2016, f-GAN, table 1.
    """
    if name not in F_DIVERGENCES:
        raise ValueError(f"There is no f-divergence {name!r}; {', '.join(F_DIVERGENCES)} is wanted.")
    p, q = distributions(p, q)
    if isinstance(p, tfd.Distribution) and num_samples is not None:
        return monte_carlo(name, p, q, num_samples, seed).value
    return total(functools.partial(f_terms, name), p, q)


def f_terms(name, log_p, log_q):
    """q f(p/q), elementwise.

    Where p > q the same number is p f*(q/p), with the dual f* for its argument < 1: neither overflows.
    """
    is_below = log_p <= log_q
    larger = tf.where(is_below, log_q, log_p)
    is_nowhere = tf.math.is_inf(larger)  # p = q = 0
    log_u = tf.where(is_nowhere, tf.zeros_like(larger), tf.minimum(log_p, log_q) - larger)
    f = tf.where(is_below, of_log_ratio(name, log_u), of_log_ratio(F_DIVERGENCES[name].dual, log_u))
    return tf.math.multiply_no_nan(f, tf.exp(larger))


def of_log_ratio(name, log_u):
    """f(u) for u <= 1, with f(0) in its place."""
    is_zero = tf.math.is_inf(log_u)
    at_zero = tf.constant(F_DIVERGENCES[name].at_zero, log_u.dtype)
    return tf.where(is_zero, at_zero, F_DIVERGENCES[name].f(tf.where(is_zero, tf.zeros_like(log_u), log_u)))


# The five by name.


def kl(p, q, num_samples=None, seed=0):
    """KL(p || q), in nats; arguments as in `f_divergence`. inf where p is possible and q is not.

    Example:
        >>> round(float(kl(tfd.Normal(1.0, 1.0), tfd.Normal(0.0, 2.0))), 6)
        0.443147
    """
    closed_form = closed(tfd.kl_divergence, *distributions(p, q))
    return f_divergence("kl_forward", p, q, num_samples, seed) if closed_form is None else closed_form


def entropy(p, num_samples=None, seed=0):
    """H(p), in nats: of probabilities in [0, log outcomes], of a density of either sign.

    Example:
        >>> round(float(entropy([0.5, 0.25, 0.25, 0.0])) / math.log(2.0), 6)
        1.5
    """
    p, _ = distributions(p, p)
    closed_form = closed(lambda p: p.entropy(), p)
    return mean_surprise(p, p, num_samples, seed) if closed_form is None else closed_form


def cross_entropy(p, q, num_samples=None, seed=0):
    """H(p, q) = H(p) + KL(p || q), in nats; arguments as in `f_divergence`."""
    p, q = distributions(p, q)
    closed_form = closed(lambda p, q: p.cross_entropy(q), p, q)
    return mean_surprise(p, q, num_samples, seed) if closed_form is None else closed_form


def mean_surprise(p, q, num_samples, seed):
    """E_p[-log q], of p = 0 none."""
    if isinstance(p, tfd.Distribution) and num_samples is not None:
        x = p.sample(at_least("num_samples", num_samples, 1), seed=stateless_seed(seed, 0))
        return -tf.reduce_mean(log_density(q, x), axis=0)
    return total(lambda log_p, log_q: -tf.math.multiply_no_nan(log_q, tf.exp(log_p)), p, q)


def jensen_shannon(p, q, num_samples=None, seed=0):
    """JSD(p, q), in nats, in [0, log 2]; arguments as in `f_divergence`.

    Example:
        >>> float(jensen_shannon([1.0, 0.0], [0.0, 1.0])) == math.log(2.0)
        True
    """
    return 0.5 * f_divergence("jensen_shannon", p, q, num_samples, seed)


def total_variation(p, q, num_samples=None, seed=0):
    """TV(p, q), in [0, 1]; arguments as in `f_divergence`."""
    return f_divergence("total_variation", p, q, num_samples, seed)


# The optimal discriminator.


def optimal_logits(p, q):
    """x -> D*(x) = log p(x) - log q(x) of two tfp distributions, p the data and q the generator's."""
    return lambda x: p.log_prob(x) - q.log_prob(x)


def optimal_value(p, q, num_samples=None, seed=0):
    """V(D*) = 2 JSD(p, q) - log 4, in nats; arguments as in `f_divergence`. -log 4 where the generator has won.

    Example:
        >>> round(float(optimal_value([0.25, 0.75], [0.25, 0.75])), 6)
        -1.386294
    """
    return f_divergence("jensen_shannon", p, q, num_samples, seed) - math.log(4.0)


# Sums and integrals of terms (log p, log q) -> [...].


def distributions(p, q):
    """p and q, checked: two tfp distributions, or two tensors of probabilities.

    Categorical distributions become tensors of their probabilities.
    """
    p, q = (d.probs_parameter() if isinstance(d, (tfd.Categorical, tfd.OneHotCategorical)) else d for d in (p, q))
    kinds = [isinstance(each, tfd.Distribution) for each in (p, q)]
    if all(kinds):
        if p.event_shape != q.event_shape or p.dtype != q.dtype:
            raise ValueError(
                f"p is over {p.dtype.name} events of shape {p.event_shape} and q over {q.dtype.name} events of shape "
                f"{q.event_shape}; the same events are wanted."
            )
        return p, q
    if any(kinds):
        raise ValueError(
            f"p came as {type(p).__name__} and q as {type(q).__name__}; two arrays of probabilities or two tfp "
            "distributions are wanted."
        )
    p, q = probabilities("p", p), probabilities("q", q)
    if p.dtype != q.dtype:
        p, q = tf.cast(p, tf.float64), tf.cast(q, tf.float64)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"p has {p.shape[-1]} outcomes and q has {q.shape[-1]}; the same outcomes are wanted.")
    return p, q


def probabilities(name, array):
    """`array` as a float tensor [..., outcomes], after a check of its values wherever they are known."""
    tensor = array if tf.is_tensor(array) else tf.constant(np.asarray(array))
    if tensor.dtype.name not in SUM_TOLERANCE:
        tensor = tf.cast(tensor, tf.float64)
    if tensor.shape.rank == 0 or tensor.shape[-1] == 0:
        raise ValueError(f"{name} has shape {tensor.shape}; probabilities [..., outcomes] are wanted.")
    values = tf.get_static_value(tensor)
    if values is None:  # inside a tf.function
        return tensor
    if not np.all(values >= 0.0):
        raise ValueError(f"{name} holds {values.min():.6g}; probabilities are numbers >= 0: remove it, or NaN.")
    sums = values.sum(axis=-1)
    farthest = sums.flat[np.argmax(np.abs(sums - 1.0))] if sums.ndim else sums
    if not abs(farthest - 1.0) <= SUM_TOLERANCE[tensor.dtype.name]:
        raise ValueError(f"{name} sums to {farthest:.9g} along its last axis; 1 is wanted: divide by the sum.")
    return tensor


def closed(function, *of):
    """`function` of tfp distributions, or None where tfp has no closed form, or `of` are tensors."""
    if not isinstance(of[0], tfd.Distribution):
        return None
    try:
        return function(*of)
    except NotImplementedError:
        return None


def total(terms, p, q):
    """The sum of `terms` over all outcomes, or their integral over all events."""
    if isinstance(p, tfd.Distribution):
        return quadrature(terms, p, q)
    return tf.reduce_sum(terms(tf.math.log(p), tf.math.log(q)), axis=-1)


def quadrature(terms, p, q):
    """The integral of `terms` of two scalar distributions over the real numbers; of their batch_shape.

    To about 1e-12 of smooth densities in float64, to 1e-5 where the integrand has kinks, as that of TV has.

    Raises:
        ValueError: where that cannot be, or the nodes miss a part of p or q.
    """
    advice = "pass num_samples for a Monte Carlo estimate."
    if p.event_shape.rank != 0 or not p.dtype.is_floating:
        raise ValueError(
            f"There is no closed form, and quadrature is for scalar events, not {p.dtype.name} ones of shape "
            f"{p.event_shape}; {advice}"
        )
    edges = np.unique(np.concatenate([panel_edges(p), panel_edges(q)]))
    if not np.all(np.isfinite(edges)):
        raise ValueError(f"Quadrature wants distributions with a finite mean and standard deviation; {advice}")
    half_widths, middles = 0.5 * np.diff(edges)[:, None], 0.5 * (edges[1:] + edges[:-1])[:, None]
    batch_rank = max(p.batch_shape.rank, q.batch_shape.rank)
    x = tf.constant((middles + half_widths * NODES).reshape(-1, *[1] * batch_rank), p.dtype)
    dx = tf.constant((half_widths * WEIGHTS).reshape(x.shape), p.dtype)
    log_p, log_q = log_density(p, x), log_density(q, x)
    for name, log_prob in (("p", log_p), ("q", log_q)):
        mass = tf.get_static_value(tf.reduce_sum(tf.exp(log_prob) * dx, axis=0))
        if mass is not None and not np.all(np.abs(mass - 1.0) < SMALLEST_MASS):
            raise ValueError(f"Quadrature finds a mass of {np.ravel(mass)[0]:.6g} in place of 1 for {name}; {advice}")
    return tf.reduce_sum(terms(log_p, log_q) * dx, axis=0)


def panel_edges(distribution):
    """Where the panels of one scalar distribution meet: float64 [edges], around every component of a mixture."""
    parts = distribution.components_distribution if isinstance(distribution, tfd.MixtureSameFamily) else distribution
    means, scales = (np.asarray(moment, np.float64).reshape(-1, 1) for moment in (parts.mean(), parts.stddev()))
    edges = (means + scales * PANELS).ravel()
    try:
        ends = np.ravel([parts.quantile(np.array(end, parts.dtype.as_numpy_dtype)) for end in (0.0, 1.0)])
    except NotImplementedError:
        return edges
    return np.concatenate([edges, ends[np.isfinite(ends)]])  # a density may jump where its support ends


def log_density(distribution, x):
    """log_prob, and -inf outside of the support, where tfp may say NaN."""
    log_prob = distribution.log_prob(x)
    return tf.where(tf.math.is_nan(log_prob), tf.constant(-np.inf, log_prob.dtype), log_prob)


def monte_carlo(name, p, q, num_samples, seed=0):
    """`Estimate` of the f-divergence `name` of two tfp distributions, unbiased, for any events.

    D_f(p || q) = E_m [q/m f(p/q)], half of the draws from p and half from q: of m = (p + q)/2 no weight is above 2.

    Args:
        num_samples: of p and q together, at least 4; an odd one is rounded down.

    Example:
        >>> estimate = monte_carlo("kl_forward", tfd.Normal(1.0, 1.0), tfd.Normal(0.0, 2.0), num_samples=100_000)
        >>> bool(abs(estimate.value - 0.443147) < 4 * estimate.standard_error)
        True
    """
    half = at_least("num_samples", num_samples, 4) // 2
    means, variances = [], []
    for index, side in enumerate((p, q)):
        x = side.sample(half, seed=stateless_seed(seed, index))
        log_p, log_q = log_density(p, x), log_density(q, x)
        log_m = tf.reduce_logsumexp(tf.stack([log_p, log_q]), axis=0) - math.log(2.0)
        terms = f_terms(name, log_p - log_m, log_q - log_m)
        means.append(tf.reduce_mean(terms, axis=0))
        variances.append(tf.math.reduce_variance(terms, axis=0) / (half - 1))
    return Estimate(0.5 * (means[0] + means[1]), 0.5 * tf.sqrt(variances[0] + variances[1]))
