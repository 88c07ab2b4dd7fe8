"""What the checker flags of TensorFlow's gradients, each verified by hand.

A finding has a small program, whose inputs are written out, and the gradient that is right, by a
formula in NumPy. `ci/tensorflow_gradients` asserts that the formula agrees with plain central
differences of the function in float64, and that TensorFlow's gradient does not; a finding that
TensorFlow has repaired fails there, and is to be struck out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        code: the program, an expression; the gradient is that of the sum of its real part.
        inputs: by the names in the program.
        wrt: the input.
        right: the right gradient, a formula of the inputs.
        why: what is wrong.
        starts: how the calls of the catalog begin that it explains.
        step: of the central differences; large where the function is linear but not in float64.
    """

    code: str
    inputs: dict[str, Any]
    wrt: str
    right: Callable[..., Any]
    why: str
    starts: tuple[str, ...]
    step: float = 1e-5

    def arrays(self) -> Arrays:
        """Returns the inputs in float64 or complex128."""
        values = {name: np.asarray(value) for name, value in self.inputs.items()}
        return {n: v.astype(complex if np.iscomplexobj(v) else float) for n, v in values.items()}


def products_of_others(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([np.prod(np.delete(x, i)) for i in range(len(x))])


def cumprod(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The gradient of the sum of x[0], x[0] x[1], ..."""
    others = [products_of_others(x[: k + 1]) for k in range(len(x))]
    return np.conj([sum(o[i] for o in others if i < len(o)) for i in range(len(x))])


def adjugate(m: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of a 2 by 2 matrix; the derivative of the determinant is its transpose."""
    return np.array([[m[1, 1], -m[0, 1]], [-m[1, 0], m[0, 0]]])


def sqrtm_gradient(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Solves R' G + G R' = 1 for the root R of a matrix, its eigenvalues taken apart."""
    values, vectors = np.linalg.eig(a)
    root = vectors @ np.diag(np.sqrt(values)) @ np.linalg.inv(vectors)
    adjoint, one = root.conj().T, np.eye(len(a))
    equations = np.kron(adjoint, one) + np.kron(one, adjoint.T)
    return np.linalg.solve(equations, np.ones(a.size)).reshape(a.shape)


def betainc_by_a(a: Any, b: Any, x: Any) -> Any:
    """At a = 2, b = 3: the integral of t (1 - t)^2 log(t), and digamma(2) - digamma(5) in fractions."""
    beta, log = 1 / 12, np.log(x)
    powers = sum(
        c * x ** (n + 1) * (log / (n + 1) - 1 / (n + 1) ** 2) for n, c in ((1, 1), (2, -2), (3, 1))
    )
    value = 12 * (x**2 / 2 - 2 * x**3 / 3 + x**4 / 4)
    return powers / beta + value * (1 / 2 + 1 / 3 + 1 / 4)


def zeta_by_order(s: Any, q: Any) -> Any:
    """The sum of -log(k + q) / (k + q)^s, its tail by an integral."""
    k, n = np.arange(200_000), 200_000 + q - 0.5
    tail = n ** (1 - s) * (np.log(n) / (s - 1) + 1 / (s - 1) ** 2)
    return -np.sum(np.log(k + q) * (k + q) ** -s) - tail


def truncated(length: int) -> Callable[..., Any]:
    """The gradient of the sum of the real part of a DFT of the first so many elements."""

    def right(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        angles = np.outer(np.arange(length // 2 + 1), np.arange(length)) * 2 * np.pi / length
        return np.pad(np.cos(angles).sum(0), (0, len(x) - length))

    return right


C1, C2 = [1 + 2j, 2 - 1j], [0.5 - 1j, 1 + 1j]
NO_CONJ = "the factor lacks its complex conjugate"
AT_ZERO = "0 where x is 0, though the function is smooth there"

WRONG = (
    Finding(
        "tf.math.cumprod(x)", {"x": [2.0, 0.0, 3.0]}, "x", lambda x: cumprod(x),
        "divides by x, and where that is 0 gives 0", ("tf.math.cumprod(x0",),
    ),
    Finding(
        "tf.math.cumprod(z)", {"z": C1}, "z", lambda z: cumprod(z), NO_CONJ, ("tf.math.cumprod(z",)
    ),
    Finding(
        "tf.math.segment_prod(z, [0, 0])", {"z": C1}, "z",
        lambda z: np.conj(products_of_others(z)), NO_CONJ, ("tf.math.segment_prod(z",),
    ),
    Finding(
        "tf.math.unsorted_segment_prod(z, [0, 0], 1)", {"z": C1}, "z",
        lambda z: np.conj(products_of_others(z)), NO_CONJ, ("tf.math.unsorted_segment_prod(z",),
    ),
    Finding(
        "tf.math.xlogy(x, y)", {"x": [0.0, 1.0], "y": [2.0, 3.0]}, "x", lambda x, y: np.log(y),
        AT_ZERO, ("tf.math.xlogy(x0",),
    ),
    Finding(
        "tf.math.xlog1py(x, y)", {"x": [0.0, 1.0], "y": [2.0, 3.0]}, "x",
        lambda x, y: np.log1p(y), AT_ZERO, ("tf.math.xlog1py(x0",),
    ),
    Finding(
        "tf.math.xdivy(x, y)", {"x": [0.0, 1.0], "y": [2.0, 4.0]}, "x", lambda x, y: 1 / y,
        AT_ZERO, ("tf.math.xdivy(x0",),
    ),
    Finding(
        "tf.math.xlogy(z, w)", {"z": C1, "w": C2}, "w", lambda z, w: np.conj(z / w), NO_CONJ,
        ("tf.math.xlogy(z",),
    ),
    Finding(
        "tf.math.xlog1py(z, w)", {"z": C1, "w": C2}, "w", lambda z, w: np.conj(z / (1 + w)),
        NO_CONJ, ("tf.math.xlog1py(z",),
    ),
    Finding(
        "tf.math.xdivy(z, w)", {"z": C1, "w": C2}, "z", lambda z, w: np.conj(1 / w), NO_CONJ,
        ("tf.math.xdivy(z",),
    ),
    Finding(
        "tf.math.multiply_no_nan(z, w)", {"z": C1, "w": C2}, "z", lambda z, w: np.conj(w),
        NO_CONJ, ("tf.math.multiply_no_nan(z",),
    ),
    Finding(
        "tf.math.squared_difference(z, w) * 1j", {"z": C1, "w": C2}, "z", lambda z, w: 0 * z,
        "|z - w|^2 is real, so what is imaginary in the upstream gradient has to go",
        ("tf.math.squared_difference(z",),
    ),
    Finding(
        "tf.math.reduce_euclidean_norm(z) * 1j", {"z": [3.0 + 0j, 4j]}, "z", lambda z: 0 * z,
        "the norm is real, so what is imaginary in the upstream gradient has to go; where that is "
        "0, it gives NaN", ("tf.math.reduce_euclidean_norm(z,",),
    ),
    Finding(
        "tf.linalg.det(m)", {"m": [[1 + 1j, 2.0], [0.0, 3.0]]}, "m",
        lambda m: np.conj(adjugate(m)).T, NO_CONJ, ("tf.linalg.det(mz",),
    ),
    Finding(
        "tf.linalg.slogdet(m)[0]", {"m": [[1 + 1j, 2.0], [0.0, 3.0]]}, "m",
        lambda m: slogdet_sign(m), "the sign of a complex matrix turns as the matrix does",
        ("tf.linalg.slogdet(mz)[0]",),
    ),
    Finding(
        "tf.linalg.slogdet(m)[1] * 1j", {"m": [[1 + 1j, 2.0], [0.0, 3.0]]}, "m",
        lambda m: 0 * m, "log|det| is real, so what is imaginary in the upstream gradient has to go",
        ("tf.linalg.slogdet(mz)[1]",),
    ),
    Finding(
        "tf.linalg.sqrtm(m)", {"m": [[2 + 1j, 1.0], [0.0, 3.0]]}, "m", sqrtm_gradient,
        "the root is not conjugated", ("tf.linalg.sqrtm(hz",),
    ),
    Finding(
        "tf.linalg.eigh_tridiagonal(a, b)", {"a": [1.0, 2.0, 3.0, 4.0], "b": [0.5, 0.5, 0.5]}, "a",
        lambda a, b: np.ones(4), "differentiates the steps of the bisection; the sum is the trace",
        ("tf.linalg.eigh_tridiagonal(", "tf.reduce_sum(tf.linalg.eigh_tridiagonal("),
    ),
    Finding(
        "tf.nn.softmax_cross_entropy_with_logits([[1.0, 1.0]], x)", {"x": [[0.0, 0.0]]}, "x",
        lambda x: 2 * np.exp(x) / np.exp(x).sum() - 1,
        "labels that do not sum to 1; the documentation warns of it",
        ("tf.nn.softmax_cross_entropy_with_logits(r", "tf.compat.v1.nn.softmax_cross_entropy_"),
    ),
    Finding(
        "tf.dynamic_stitch([[0, 1], [1]], [x, y])", {"x": [1.0, 2.0], "y": [3.0]}, "x",
        lambda x, y: np.array([1.0, 0.0]), "what is written over gets a gradient nevertheless",
        ("tf.dynamic_stitch([[0, 1], [1]]",),
    ),
    Finding(
        "tf.sparse.to_dense(tf.sparse.from_dense(x))", {"x": [[0.0, 1.0]]}, "x",
        lambda x: np.ones_like(x), "0 where x is 0, though this is the identity",
        ("tf.sparse.to_dense(tf.sparse.from_dense",),
    ),
    Finding(
        "tf.image.crop_and_resize(tf.reshape(tf.range(16.0), [1, 4, 4, 1]), tf.cast(b, 'float32'), "
        "[0], [2, 2], 'nearest')", {"b": [[0.1, 0.2, 0.7, 0.83]]}, "b", lambda b: 0 * b,
        "the gradient of bilinear interpolation, where the nearest pixel does not change",
        ('tf.image.crop_and_resize(image, box, [0], [3, 3], "nearest")',), 1e-3,
    ),
    Finding(
        "tf.raw_ops.ImageProjectiveTransformV3(images=x, transforms=[[2.0, 0, 0, 0, 1, 0, 0, 0]], "
        "output_shape=[2, 2], fill_value=0.0, interpolation='BILINEAR')",
        {"x": [[[[1.0], [2.0]], [[3.0], [4.0]]]]}, "x",
        lambda x: np.array([[[[1.0], [0.0]], [[1.0], [0.0]]]]),
        "interpolates the upstream gradient, instead of giving back to each pixel what was taken; "
        "so do Keras' RandomRotation, RandomShear, RandomTranslation and RandomZoom",
        (
            "tf.raw_ops.ImageProjectiveTransformV3", "RandomRotation(", "RandomShear(",
            "RandomTranslation(", "RandomZoom(",
        ), 0.5,
    ),
    Finding(
        "tf.random.stateless_parameterized_truncated_normal("
        "[3, 1], [1, 2], x, tf.ones_like(x), x - 1, x + 2)", {"x": [0.25]}, "x", lambda x: 3.0 + 0 * x,
        "samples move as the mean and both bounds do, but the gradients of mean and stddev take the "
        "bounds for relative to them", ("tf.random.stateless_parameterized_truncated_normal(",),
    ),
)  # fmt: skip


def slogdet_sign(m: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The gradient of Re(d / |d|): ds = i s Im(tr(m^-1 dm)), so that Re ds = -Im(s) Im(tr(...))."""
    d = np.linalg.det(m)
    return -(d / abs(d)).imag * 1j * np.conj(np.linalg.inv(m)).T


NONE = (
    Finding(
        "tf.math.betainc(a, b, x)", {"a": 2.0, "b": 3.0, "x": 0.5}, "a", betainc_by_a,
        "for a and for b", ("tf.math.betainc(",),
    ),
    Finding(
        "tf.math.zeta(s, q)", {"s": 3.0, "q": 1.5}, "s", zeta_by_order, "for the order",
        ("tf.math.zeta(",),
    ),
    Finding(
        "tf.one_hot([0, 1], 3, on_value=x, off_value=y)", {"x": 2.0, "y": 0.5}, "x",
        lambda x, y: 2.0,
        "for on_value and off_value", ("tf.one_hot(",),
    ),
    Finding(
        "tf.pad([1.0], [[2, 1]], constant_values=c)", {"c": 2.0}, "c", lambda c: 3.0,
        "for constant_values", ("tf.pad(x, [[1, 0], [0, 2]], constant",),
    ),
    Finding(
        "tf.linalg.diag([1.0, 2.0], padding_value=c)", {"c": 2.0}, "c", lambda c: 2.0,
        "for padding_value", ("tf.linalg.diag(x, padding", "tf.raw_ops.MatrixDiagV3("),
    ),
    Finding(
        "tf.range(x, x + 2.5, 1.0)", {"x": 2.25}, "x", lambda x: 3.0, "for the start",
        ("tf.range(",),
    ),
    Finding(
        "tf.random.shuffle(x, seed=1) ** 2", {"x": [1.0, 2.0]}, "x", lambda x: 2 * x,
        "a permutation has one", ("tf.random.shuffle(",),
    ),
    Finding(
        "tf.sparse.concat(0, [tf.SparseTensor([[0]], x, [1]), tf.SparseTensor([[0]], y, [1])]).values",
        {"x": [1.0], "y": [2.0]}, "x", lambda x, y: np.ones(1), "for every operand",
        ("tf.sparse.to_dense(tf.sparse.concat(",),
    ),
    Finding(
        "tf.image.hsv_to_rgb(x)", {"x": [[0.1, 0.6, 0.8]]}, "x",
        lambda x: np.array([[6 * 0.8 * 0.6, 0.8 * (-2 + 6 * 0.1), 3 - 2 * 0.6 + 6 * 0.1 * 0.6]]),
        "", ("tf.image.hsv_to_rgb(",),
    ),
    Finding(
        "tf.compat.v1.nn.fused_batch_norm(tf.reshape(tf.range(4.0), [1, 2, 2, 1]), [2.0], [0.0], "
        "tf.cast(m, 'float32'), [3.0], is_training=False, epsilon=1.0)[0]", {"m": [1.0]}, "m",
        lambda m: np.array([-4 * 2 / 2.0]), "for mean and variance, at inference",
        ("tf.compat.v1.nn.fused_batch_norm(image, p[0, :2], y[0, :2], x[0, :2]",), 0.5,
    ),
)  # fmt: skip

RAISES = (
    Finding(
        "tf.math.real(tf.signal.rfft(x, [3]))", {"x": [1.0, 2.0, 3.0, 4.0]}, "x", truncated(3),
        "fft_length shorter than the signal", ("tf.signal.rfft(x, [3])",),
    ),
    Finding(
        "tf.math.real(tf.signal.rfft2d(x, [1, 3]))", {"x": [[1.0, 2.0, 3.0, 4.0]]}, "x",
        lambda x: truncated(3)(x[0])[None], "fft_length shorter than the signal",
        ("tf.signal.rfft2d(x, [2, 4])",),
    ),
    Finding(
        "tf.signal.irfft(z, [2])", {"z": [1.0 + 0j, 2.0, 3.0]}, "z",
        lambda z: np.array([1, 0, 0j]), "fft_length shorter than the signal",
        ("tf.signal.irfft(z, [4])",),
    ),
    Finding(
        "tf.signal.irfft2d(z, [1, 2])", {"z": [[1.0 + 0j, 2.0, 3.0]]}, "z",
        lambda z: np.array([[1, 0, 0j]]), "fft_length shorter than the signal",
        ("tf.signal.irfft2d(z, [3, 5])",),
    ),
    Finding(
        "tf.linalg.det(m)", {"m": [[1.0, 2.0], [2.0, 4.0]]}, "m", lambda m: adjugate(m).T,
        "inverts the matrix, where that is singular; if rounding makes it regular, zeros or noise",
        ("tf.linalg.det(singular)",),
    ),
    Finding(
        "tf.sparse.maximum(tf.SparseTensor([[0]], x, [1]), tf.SparseTensor([[0]], y, [1])).values",
        {"x": [1.0], "y": [2.0]}, "y", lambda x, y: np.ones(1), "a mistake in the gradient function",
        ("tf.sparse.to_dense(tf.sparse.maximum(",),
    ),
    Finding(
        "tf.sparse.minimum(tf.SparseTensor([[0]], x, [1]), tf.SparseTensor([[0]], y, [1])).values",
        {"x": [1.0], "y": [2.0]}, "x", lambda x, y: np.ones(1), "a mistake in the gradient function",
        ("tf.sparse.to_dense(tf.sparse.minimum(",),
    ),
    Finding(
        "tf.image.resize(x, [1, 1], 'lanczos3')", {"x": [[[[5.0]]]]}, "x",
        lambda x: np.ones_like(x),
        "float64, for lanczos3, lanczos5, gaussian, mitchellcubic, and with antialias=True",
        (
            'tf.image.resize(image, [9, 8], "lanczos', 'tf.image.resize(image, [9, 8], "gaussian',
            'tf.image.resize(image, [9, 8], "mitchell',
            'tf.image.resize(image, [4, 3], "bilinear", antialias', "tf.raw_ops.ScaleAndTranslate(",
        ), 0.5,
    ),
    Finding(
        "tf.nn.conv2d(x, tf.ones([2, 1, 1, 1], x.dtype), 1, 'VALID', dilations=2)",
        {"x": [[[[1.0]], [[2.0]], [[3.0]]]]}, "x",
        lambda x: np.array([[[[1.0]], [[0.0]], [[1.0]]]]), "float64 with dilations, on CPU",
        ('tf.nn.conv2d(image, kernel, 1, "VALID", dilations=2)',),
    ),
    Finding(
        "tf.linalg.lstsq(a, b, fast=False)", {"a": [[2.0]], "b": [[3.0]]}, "b",
        lambda a, b: 1 / a, "fast=False; the documentation says so",
        ("tf.linalg.lstsq(x, y, fast=False)",),
    ),
)  # fmt: skip


def bessel_i0_second(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The sum of 2k (2k - 1) x^(2k - 2) / (4^k k!^2)."""
    factorials = np.cumprod(np.arange(1.0, 20))
    terms = [
        2 * k * (2 * k - 1) * x ** (2 * k - 2) / (4.0**k * factorials[k - 1] ** 2)
        for k in range(1, 20)
    ]
    return np.sum(terms, axis=0)


def pairs_of_others(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of three factors, the second derivatives of their product, summed over one of the two."""
    return np.conj(np.sum(x) - x)


SECOND = (
    Finding(
        "grad(tf.math.bessel_i0, x)", {"x": [0.0, 1.0]}, "x", bessel_i0_second, "1 at 0",
        ("tf.math.bessel_i0(x0)",),
    ),
    Finding(
        "grad(tf.math.bessel_i1, x)", {"x": [0.0]}, "x", lambda x: 0 * x, "NaN at 0",
        ("tf.math.bessel_i1(x0)",),
    ),
    Finding(
        "grad(tf.math.special.bessel_j1, x)", {"x": [0.0]}, "x", lambda x: 0 * x, "NaN at 0",
        ("tf.math.special.bessel_j1(x0)",),
    ),
    Finding(
        "grad(tf.reduce_prod, x)", {"x": [0.0, 2.0, 3.0]}, "x", pairs_of_others, "at zeros",
        ("tf.math.reduce_prod(x0",),
    ),
    Finding(
        "grad(tf.reduce_prod, z)", {"z": [1 + 2j, 2 - 1j, 0.5j]}, "z", pairs_of_others, NO_CONJ,
        ("tf.math.reduce_prod(z,", "tf.math.reduce_prod(z0"),
    ),
    Finding(
        "grad(lambda v: tf.math.unsorted_segment_prod(v, [0, 0, 0], 1), x)",
        {"x": [0.0, 2.0, 3.0]}, "x", pairs_of_others, "at zeros",
        ("tf.math.unsorted_segment_prod(x0",),
    ),
    Finding(
        "grad(lambda v: v ** 1, x)", {"x": [0.0, 1.0]}, "x", lambda x: 0 * x, "NaN at 0",
        ("x0 ** 1",),
    ),
    Finding(
        "grad(lambda x: c * tf.math.segment_mean(x, [0, 2]), tf.ones([2], c.dtype))",
        {"c": [1.0, 1.0, 1.0]}, "c", lambda c: np.array([1.0, 0.0, 1.0]),
        "an empty segment; by the upstream gradient", ("tf.math.segment_mean(x, [0, 0, 2])",),
    ),
    Finding(
        "grad(lambda x: c * tf.math.cumulative_logsumexp(x, exclusive=True), tf.ones([3], c.dtype))",
        {"c": [1.0, 1.0, 1.0]}, "c", lambda c: np.array([0.0, 1.0, 1.0]),
        "the empty sum; by the upstream gradient", ("tf.math.cumulative_logsumexp(x, 1, exclusive",),
    ),
    Finding(
        "[1.0, 2.0] * grad(lambda x: tf.nn.softmax_cross_entropy_with_logits(t, x), "
        "tf.constant([[0.0, 1.0]], t.dtype))", {"t": [[0.5, 0.5]]}, "t",
        lambda t: np.array([[-1.0, -2.0]]), "the derivative of softmax(x) - t by the labels t",
        ("tf.nn.softmax_cross_entropy_with_logits(",),
    ),
    Finding(
        "grad(lambda x: tf.cast(c, 'float32') * tf.image.resize(x, [2, 1]), tf.ones([1, 1, 1, 1]))",
        {"c": [[[[1.0]], [[1.0]]]]}, "c", lambda c: np.ones_like(c),
        "None: bilinear; by the upstream gradient",
        (
            "tf.image.resize(image", "tf.image.resize_with_pad(",
            "tf.compat.v1.image.resize_bilinear(",
        ), 0.5,
    ),
    Finding(
        "grad(lambda x: tf.cast(c, 'float32') * tf.sparse.to_dense(tf.sparse.add(tf.SparseTensor([[0]], x, [1]), "
        "tf.SparseTensor([[0]], [2.0], [1]))), tf.ones([1]))", {"c": [1.0]}, "c",
        lambda c: np.ones(1), "None: by the upstream gradient",
        ("tf.sparse.to_dense(tf.sparse.add(",), 0.5,
    ),
    Finding(
        "grad(lambda v: tf.nn.convolution(v, tf.ones([1, 1, 1, 1], v.dtype), padding='VALID') ** 2, "
        "x)", {"x": [[[[3.0]]]]}, "x", lambda x: 2 * np.ones_like(x), "raises: a mistake",
        ("tf.nn.convolution(image, kernel, 1, \"VALID\")",),
    ),
)  # fmt: skip

# Right in eager mode and graphs, wrong where XLA compiles the function and its gradient.
XLA = tuple(
    Finding(code, {"z": C1}, "z", right, NO_CONJ, ())
    for code, right in (
        ("tf.math.sqrt(z)", lambda z: np.conj(0.5 / np.sqrt(z))),
        ("tf.math.rsqrt(z)", lambda z: np.conj(-0.5 * z**-1.5)),
        ("tf.math.reciprocal(z)", lambda z: np.conj(-(z**-2.0))),
    )
)

# Where the checker is wrong, or what it flags was not verified.
OPEN = {
    "tf.reduce_sum(tf.linalg.eigh_tridiagonal(": "missed in float32 with some seeds: between the stairs "
    "of its bisection, the function has the derivative that TensorFlow returns",
    "tf.abs(tf.linalg.svd(mz)[1]) ** 2": "second order of complex singular vectors: not verified",
    "tf.nn.softmax(1000 * x)": "second order, a false alarm: 1e-22, lost in the rounding of its terms",
}

# What is flagged and is no fault: there is no derivative, or another than the derivative is meant.
MEANT = {
    "tf.math.bessel_i1e(x0)": "in second order it has a kink at 0",
    "tf.math.pow(tf.abs(x0)": "in second order it is infinite at 0, for some exponents",
    "tf.linalg.norm(zeros)": "a norm has no derivative at 0; NaN says so",
    "tf.math.reduce_euclidean_norm(zeros)": "a norm has no derivative at 0; NaN says so",
    "tf.math.reduce_std(tf.ones_like(x)": "a standard deviation has no derivative at 0",
    "tf.math.divide_no_nan(x, x0)": "the function jumps where the divisor is 0",
    "tf.math.reciprocal_no_nan(x0)": "the function jumps at 0",
    "tf.where(x0 == 0": "0 times infinity in the branch that is not taken; put a tf.where inside, too",
    "tf.grad_pass_through(": "another gradient than the derivative is what it is for",
    "tf.quantization.": "a straight-through estimator",
}
