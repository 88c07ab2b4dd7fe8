"""Samplers that have a gradient: how a sample moves with its parameters.

`tf.random.gamma` draws by rejection, so that its samples jump where a proposal is accepted that was
not before. What TensorFlow differentiates is another path with the same distribution, along which
the sample stays at the same quantile: F(z; a) is constant (M. Figurnov, S. Mohamed, A. Mnih,
"Implicit reparameterization gradients", 2018). The reference draws at the base point, and from
there on solves F(z'; a') = F(z; a) for z', in float64; so the formula of the gradient is checked,
and not the sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.numeric import Array, Arrays

_NEWTON = 12  # steps; it converges quadratically from nearby
Quantile = Callable[[Array, Arrays, Arrays], Array]


def gamma(sample: Array, old: Arrays, new: Arrays) -> Array:
    """Moves samples of the gamma distribution of rate 1 to a shape parameter near by.

    Args:
        sample: of any shape that ends in the parameter's.
        old, new: the shape parameter, alone in a list.

    >>> gamma(np.array([0.5]), [np.array(1.0)], [np.array(1.0)]).tolist()
    [0.5]
    """
    (a,), (b,) = old, new
    lower, upper = tf.math.igamma(a, sample).numpy(), tf.math.igammac(a, sample).numpy()
    moved, low = np.array(sample), lower < 0.5  # the smaller tail is known more closely
    log_gamma = tf.math.lgamma(b).numpy()
    for _ in range(_NEWTON):
        below = tf.math.igamma(b, moved).numpy() - lower
        above = upper - tf.math.igammac(b, moved).numpy()
        density = np.exp((b - 1) * np.log(moved) - moved - log_gamma)
        step = np.where(low, below, above) / density
        moved = np.where(np.isfinite(step), np.maximum(moved - step, moved / 2), moved)
    return moved


def truncated_normal(sample: Array, old: Arrays, new: Arrays) -> Array:
    """Moves samples of the normal distribution between two bounds to other parameters.

    Args:
        sample: of any shape that the parameters broadcast to.
        old, new: mean, standard deviation, lower and upper bound.

    >>> one = [np.array(v) for v in (0.0, 1.0, -1.0, 1.0)]
    >>> bool(abs(truncated_normal(np.array([0.3]), one, one)[0] - 0.3) < 1e-14)
    True
    """
    mean, deviation, least, most = old
    bottom, top = _normal((least - mean) / deviation), _normal((most - mean) / deviation)
    part = (_normal((sample - mean) / deviation) - bottom) / (top - bottom)
    mean, deviation, least, most = new
    bottom, top = _normal((least - mean) / deviation), _normal((most - mean) / deviation)
    found = tf.math.ndtri(bottom + part * (top - bottom)).numpy()
    return np.asarray(mean + deviation * found)


def _normal(z: Array) -> Array:
    return np.asarray(0.5 * tf.math.erfc(-z / math.sqrt(2)).numpy())


@dataclass(frozen=True, slots=True)
class Sampler:
    """Which inputs of an op are parameters, and how its samples move with them."""

    parameters: Sequence[int]
    moved: Quantile


SAMPLERS = {
    "RandomGamma": Sampler((1,), gamma),
    "StatelessRandomGammaV2": Sampler((2,), gamma),
    "StatelessRandomGammaV3": Sampler((4,), gamma),
    "StatelessParameterizedTruncatedNormal": Sampler((2, 3, 4, 5), truncated_normal),
}
