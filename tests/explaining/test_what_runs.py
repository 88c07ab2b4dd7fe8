"""What `explain` says that runs is what runs: written again from the ops that TensorFlow was given.

The same calls are also followed in NumPy, which holds their axes and shapes to the oracle.
"""

import re
from itertools import chain

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_callbacks, tensor_util

import tf_einsum_grad as teg
from tests.corpus import FAMILIES, case
from tests.reference import Reference
from tf_einsum_grad.lowering.builder import MAX_PERMUTE_DIMS

# A third of every family, and the question with its like.
CASES = tuple(dict.fromkeys(chain(*(family[::3] for family in FAMILIES.values())))) + tuple(
    case(equation) for equation in ("ijkm,ijkn->imn", "bhts,bshd->bthd", "bqd,bkd,bkv->bqv")
)


# What explain says ------------------------------------------------------------------------------


def written(explanation):
    """The calls for Y and for each gradient, with what intermediates stand for in their places."""
    calls = {}
    for work in explanation.forward:
        calls[work.result] = expand(work.call, calls)
    gradients = []
    for gradient in explanation.gradients:
        route = dict(calls)
        for work in gradient.work:
            route[work.result] = expand(work.call, route)
        gradients.append(route[gradient.work[-1].result])
    return [calls["Y"], *gradients]


def expand(call, known):
    return re.sub(r"(dL/d)?Z\d+", lambda name: known[name[0]], call)


def plain(call):
    """Labels by order of appearance; without the axes of a diagonal that no op holds as such."""
    call = re.sub(r", '\w+'\)", ")", call)  # which labels `stretch` is about
    call = re.sub(r", \[[\d, ]+\], by='(gather|segment_sum|select)'", r", by='\1'", call)
    return re.sub(r"einsum\('(.*?)'", lambda found: f"einsum('{letters(found[1])}'", call)


def letters(equation):
    names = dict.fromkeys(x for x in equation if x.isalpha())
    return equation.translate({ord(x): chr(0x4E00 + k) for k, x in enumerate(names)})


# What TensorFlow was given ----------------------------------------------------------------------


class Ops:
    """Ops as calls; `made` finds the op of a tensor, and `value` what is constant."""

    def __init__(self, made, value, names):
        self.made, self.value, self.names = made, value, names

    def call(self, tensor):
        if self.key(tensor) in self.names:
            return self.names[self.key(tensor)]
        kind, inputs, attribute, index = self.made(tensor)
        if kind in ("Identity", "IdentityN"):
            return self.call(inputs[index])
        return getattr(self, kind)(inputs, attribute, tensor)

    @staticmethod
    def key(tensor):
        return id(tensor) if isinstance(tensor, tf.__internal__.EagerTensor) else tensor.ref()

    def kind(self, tensor):
        """The type of the op that a tensor comes from, none where it has a name or is constant."""
        try:
            return "" if self.key(tensor) in self.names else self.made(tensor)[0]
        except KeyError:
            return ""

    def list(self, tensor):
        numbers = self.value(tensor)
        return f"[{', '.join('?' if n in (None, -1) else str(n) for n in numbers)}]"

    def Einsum(self, inputs, attribute, _):
        equation = tf.compat.as_text(attribute("equation"))
        return f"einsum('{equation}', {', '.join(map(self.call, inputs))})"

    def MatMul(self, inputs, attribute, _, flags=("transpose_a", "transpose_b")):
        named = zip(("transpose_a", "transpose_b"), flags, strict=True)
        given = [f", {name}=True" for name, flag in named if attribute(flag)]
        return f"matmul({', '.join(map(self.call, inputs))}{''.join(given)})"

    def BatchMatMulV2(self, inputs, attribute, tensor):
        return self.MatMul(inputs, attribute, tensor, ("adj_x", "adj_y"))

    def Mul(self, inputs, *_):
        return f"multiply({', '.join(map(self.call, inputs))})"

    def _with_list(self, name, inputs):
        return f"{name}({self.call(inputs[0])}, {self.list(inputs[1])})"

    def Transpose(self, inputs, *_):
        return self._with_list("permute", inputs)

    def BroadcastTo(self, inputs, *_):
        if self.kind(inputs[1]) == "BroadcastArgs":
            return f"stretch({self.call(inputs[0])})"
        if self.kind(inputs[0]) == "Sum" and self.made(inputs[0])[2]("keep_dims"):
            return self.call(inputs[0])
        return self._with_list("broadcast", inputs)

    def Sum(self, inputs, attribute, _):
        if attribute("keep_dims"):
            operand = self.made(self.made(inputs[1])[1][0])[1][0]
            return f"fit({self.call(inputs[0])}, {self.call(operand)})"
        return self._with_list("sum", inputs)

    def Reshape(self, inputs, *_):
        kind = self.kind(inputs[0])
        parts = self.made(inputs[0])[1] if kind else []
        if kind == "StridedSlice":
            x = self.made(parts[0])[1][0]
            return self._diagonal(x, x.shape.rank, "stride")
        if kind == "GatherV2":
            x = self.made(parts[0])[1][0]
            # A permute of more dimensions than `tf.transpose` takes well is a gather, too.
            count = x.shape.num_elements()
            all_of_it = count is not None and count == inputs[0].shape.num_elements()
            name = "permute" if x.shape.rank > MAX_PERMUTE_DIMS and all_of_it else "diagonal"
            return f"{name}({self.call(x)}, by='gather')"
        if kind == "UnsortedSegmentSum":
            return f"embed_diagonal({self.call(self.made(parts[0])[1][0])}, by='segment_sum')"
        if kind == "SelectV2":
            return f"embed_diagonal({self.call(self.made(parts[1])[1][0])}, by='select')"
        return self._with_list("reshape", inputs)

    def _diagonal(self, x, rank, kernel, name="diagonal"):
        return f"{name}({self.call(x)}, [{rank - 2}, {rank - 1}], by='{kernel}')"

    def MatrixDiagPart(self, inputs, *_):
        return self._diagonal(inputs[0], inputs[0].shape.rank, "diag_part")

    def MatrixDiag(self, inputs, _, tensor):
        return self._diagonal(inputs[0], tensor.shape.rank, "diag", "embed_diagonal")

    def MatrixSetDiag(self, inputs, _, tensor):
        assert self.made(inputs[0])[0] == "Fill"
        return self._diagonal(inputs[1], tensor.shape.rank, "set_diag", "embed_diagonal")

    def Cast(self, inputs, _, tensor):
        return f"cast({self.call(inputs[0])}, {tensor.dtype.name})"

    def Conj(self, inputs, *_):
        return f"conj({self.call(inputs[0])})"

    def Squeeze(self, inputs, attribute, tensor):
        if self.key(inputs[0]) not in self.names:
            return self.ExpandDims(inputs, attribute, tensor)
        return f"squeeze({self.call(inputs[0])}, {list(attribute('squeeze_dims'))})"

    def ExpandDims(self, inputs, _, tensor):
        """A reshape of unknown sizes that only puts in and takes out ones."""
        shape = f"[{', '.join('?' if n is None else str(n) for n in tensor.shape)}]"
        x = inputs[0]
        while self.kind(x) in ("ExpandDims", "Squeeze"):
            x = self.made(x)[1][0]
        return f"reshape({self.call(x)}, {shape})"

    def Fill(self, inputs, *_):
        return f"zeros({self.list(inputs[0])})"


def derivatives(einsum, one, operands, cotangent):
    with tf.GradientTape() as tape:
        tape.watch(operands)
        result = einsum(one.equation, *operands, **one.kwargs)
    return [result, *tape.gradient(result, operands, cotangent)]


def names_of(operands):
    return [*(chr(ord("A") + k) for k in range(len(operands))), "dL/dY"]


def from_graph(cases, xla=False, unknown=(), dtype="float32", einsum=teg.einsum):
    """The calls of each case, from the graph of all of them."""
    specs = []
    for one in cases:
        shapes = [*one.shapes, one.reference.output_shape]
        given = [[None] * len(shape) if one in unknown else shape for shape in shapes]
        specs.append([tf.TensorSpec(shape, dtype) for shape in given])
    results, tensors = [], []

    def body(rows):
        for one, (*operands, cotangent) in zip(cases, rows, strict=True):
            tensors.append([*operands, cotangent])
            results.append(derivatives(einsum, one, operands, cotangent))
        return tf.nest.flatten(results)

    tf.function(body, autograph=False, jit_compile=xla).get_concrete_function(specs)

    def made(tensor):
        op = tensor.op
        return op.type, list(op.inputs), op.get_attr, tensor.value_index

    def value(tensor):
        known = tensor_util.constant_value(tensor)
        if known is not None:
            return np.ravel(known).tolist()
        shape = tensor_util.constant_value_as_shape(tensor)
        return [None] if shape.rank is None else shape.as_list()

    for row, found in zip(tensors, results, strict=True):
        names = {x.ref(): name for x, name in zip(row, names_of(row[:-1]), strict=True)}
        ops = Ops(made, value, names)
        yield [ops.call(x) for x in found]


def from_eager(cases, dtype="float32"):
    """The same from the ops that eager mode runs."""
    for one in cases:
        *operands, cotangent = (
            tf.zeros(shape, dtype) for shape in (*one.shapes, one.reference.output_shape)
        )
        ran = {}

        def note(kind, inputs, attributes, outputs, *_, ran=ran):
            pairs = dict(zip(attributes[::2], attributes[1::2], strict=True))
            for index, x in enumerate(outputs):
                ran[id(x)] = (tf.compat.as_str(kind), inputs, pairs.__getitem__, index, x)
            return outputs

        op_callbacks.add_op_callback(note)
        try:
            found = derivatives(teg.einsum, one, operands, cotangent)
        finally:
            op_callbacks.remove_op_callback(note)
        row = zip([*operands, cotangent], names_of(operands), strict=True)
        names = {id(x): name for x, name in row}
        ops = Ops(lambda x, ran=ran: ran[id(x)][:4], lambda x: np.ravel(x).tolist(), names)
        yield [ops.call(x) for x in found]


def explained(one, target, unknown=(), dtype="float32"):
    shapes = [(None,) * len(shape) if one in unknown else shape for shape in one.shapes]
    return teg.explain(one.equation, *shapes, **one.kwargs, target=target, dtype=dtype)


def assert_same(cases, ran, target, **how):
    for one, calls in zip(cases, ran, strict=True):
        said = written(explained(one, target, **how))
        assert [plain(call) for call in calls] == [plain(call) for call in said], one


def test_in_graphs():
    assert len(CASES) > 300
    assert_same(CASES, from_graph(CASES), "graph")


def test_under_xla():
    assert_same(CASES, from_graph(CASES, xla=True), "xla")


def test_in_eager_mode():
    assert_same(CASES, from_eager(CASES), "eager")


@pytest.mark.parametrize("dtype", ["float16", "complex64"])
def test_with_casts_and_conjugates(dtype):
    cases = CASES[::9]
    assert_same(cases, from_graph(cases, dtype=dtype), "graph", dtype=dtype)


def test_of_unknown_sizes():
    # Sizes that a caller gives are compared with those by ops of their own.
    cases = [one for one in CASES[::3] if not one.sizes]
    assert len(cases) > 90
    assert_same(cases, from_graph(cases, unknown=cases), "graph", unknown=cases)


# Followed in NumPy ------------------------------------------------------------------------------


def diagonal(x, axes, by):
    first, second = axes
    moved = np.moveaxis(x, (first, second), (-2, -1))
    return np.moveaxis(np.diagonal(moved, axis1=-2, axis2=-1), -1, first)


def embed_diagonal(x, axes, by):
    first, second = axes
    n = x.shape[first]
    wide = np.expand_dims(np.moveaxis(x, first, -1), -1) * np.eye(n, dtype=x.dtype)
    # The last two are the diagonal's: back to their places, the later one after the earlier.
    return np.moveaxis(np.moveaxis(wide, -2, first), -1, second)


def matmul(a, b, transpose_a=False, transpose_b=False):
    a = np.swapaxes(a, -1, -2) if transpose_a else a
    return np.matmul(a, np.swapaxes(b, -1, -2) if transpose_b else b)


NUMPY = {
    "einsum": lambda equation, *xs: Reference(equation, [x.shape for x in xs]).value(xs), "matmul": matmul, "multiply": np.multiply, "permute": lambda x, axes, by="transpose": np.transpose(x, axes),
    "reshape": np.reshape, "zeros": np.zeros, "conj": np.conj, "diagonal": diagonal,
    "embed_diagonal": embed_diagonal, "broadcast": np.broadcast_to,
    "sum": lambda x, axes: np.sum(x, tuple(axes)),
    "squeeze": lambda x, axes: np.squeeze(x, tuple(axes)),
}  # fmt: skip


@pytest.mark.parametrize("target", ["eager", "graph", "xla"])
def test_calls_compute_what_they_stand_for(target):
    for one in CASES:
        operands, cotangent = one.draw("complex128"), one.draw_cotangent("complex128")
        names = dict(zip(names_of(operands), [*operands, cotangent], strict=True))
        names["incoming"] = names.pop("dL/dY")
        calls = written(explained(one, target, dtype="complex128"))
        got = [eval(call.replace("dL/dY", "incoming"), NUMPY, names) for call in calls]
        wanted = [one.reference.value(operands), *one.reference.vjps(operands, cotangent)]
        for x, y in zip(got, wanted, strict=True):
            np.testing.assert_allclose(x, y, err_msg=str(one))


# Native's ---------------------------------------------------------------------------------------


def test_natives_calls_are_those_that_native_runs():
    """The einsum of each gradient; what native does before and after it is in its drawbacks."""
    found = set()
    for one in (
        FAMILIES["pairs"][::3] + FAMILIES["ellipses"][::2] + FAMILIES["pairs_irregular"][::2]
    ):
        natives = [gradient.native for gradient in explained(one, "graph").gradients]
        if not any(natives):
            continue
        ((_, *calls),) = from_graph([one], einsum=tf.einsum)
        for native, call in zip(natives, calls, strict=True):
            assert native is None or native.call in call, (one, native, call)
            found |= {native and native.drawbacks[:1]}
    assert len(found) > 4
