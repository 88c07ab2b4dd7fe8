"""A traced TensorFlow graph is rewritten to float64: the reference that numerics are run on.

Every float16, bfloat16 and float32 in the GraphDef and its function library becomes float64, every
complex64 complex128. Variables are replaced by float64 shadows. What has to stay native (random
ops, so that they draw the same numbers; Python functions; ops without a float64 kernel) is wrapped
in casts. `tf.stop_gradient` becomes a tape recorder (see `replay`), so that straight-through
estimators have the derivative that their author means.

Control flow, calls and custom gradients need no special case: in a GraphDef they are attributes
that name functions, and functions are rewritten by the same rules as the main graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from tf_einsum_grad.gradcheck import private
from tf_einsum_grad.gradcheck.replay import RANDOM_OPS, Concrete, Recorder, all_nodes
from tf_einsum_grad.gradcheck.samplers import SAMPLERS, Sampler

_WIDER: dict[int, int] = {
    d.as_datatype_enum: tf.float64.as_datatype_enum for d in (tf.float16, tf.bfloat16, tf.float32)
} | {tf.complex64.as_datatype_enum: tf.complex128.as_datatype_enum}
# Python code may insist on a dtype.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_NATIVE_EXACTLY = PYTHON_OPS | {"Bitcast"}
# Draws a permutation, whatever the dtype; draws nothing.
_VALUE_BLIND = frozenset({"RandomShuffle", "RandomGammaGrad"})
# A recorder inside is stateful, so the call must be too. Their attributes are the same.
_STATEFUL = {
    "StatelessWhile": "While",
    "StatelessIf": "If",
    "StatelessCase": "Case",
    "PartitionedCall": "StatefulPartitionedCall",
}
_ASSIGNMENTS = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"})
_DROPPED_NODE_ATTRS = ("_gradient_op_type", "_XlaMustCompile", "_class")
_DROPPED_FUNCTION_ATTRS = (
    "api_implements", "forward_function_name", "backward_function_name", "_XlaMustCompile",
)  # fmt: skip
_generations = itertools.count()


class PromotionError(RuntimeError):
    """The graph cannot be rewritten to float64; the message says why."""


def differentiable(dtype: tf.DType) -> bool:
    """Whether derivatives with respect to this dtype make sense."""
    return bool(dtype.is_floating or dtype.is_complex)


def wider(dtype: tf.DType) -> tf.DType:
    """Returns float64 for a narrower float, complex128 for complex64, others unchanged."""
    found = _WIDER.get(dtype.as_datatype_enum)
    return tf.as_dtype(dtype if found is None else found)


def low_dtypes(concrete: Concrete) -> set[str]:
    """Returns the names of the dtypes narrower than float64 that a traced function computes in."""
    attrs = (a for node in all_nodes(concrete) if node.op != "Const" for a in node.attr.values())
    found = {dtype for attr in attrs for dtype in (attr.type, *attr.list.type)}
    return {tf.as_dtype(dtype).name for dtype in found & _WIDER.keys()}


@dataclass
class Rewritten:
    """A promoted GraphDef and what was found on the way."""

    graph_def: tf.compat.v1.GraphDef
    functions: list[Any]  # FunctionDefs, callees first
    native_ops: set[str] = field(default_factory=set)  # whose values are cast on the way
    lossy: bool = False  # whether a value that may be differentiated is rounded on the way
    ops: set[str] = field(default_factory=set)
    low_dtypes: set[int] = field(default_factory=set)


def rewrite(
    graph_def: tf.compat.v1.GraphDef,
    recorder: Recorder,
    primal: frozenset[str] | None,
) -> Rewritten:
    """Promotes a GraphDef, in place.

    Args:
        graph_def: as `tf.Graph.as_graph_def` returns it.
        recorder: gives the tokens of the Python functions that take the place of stop_gradients to
            be frozen, and stand in front of values assigned to variables, which TensorFlow does not
            differentiate through either, and behind samplers that have a gradient.
        primal: names of the main graph's nodes whose stop_gradients are frozen, together with
            those in the functions that they call; None means all.

    Raises:
        PromotionError: for an op that is not known.
    """
    library = {f.signature.name: f for f in graph_def.library.function}
    primal_nodes = [n for n in graph_def.node if primal is None or n.name in primal]
    recorded = _callees_first(_called(primal_nodes, library), library)
    result = Rewritten(graph_def, list(_callees_first(library, library).values()))
    suffix = f"__float64_{next(_generations)}"
    common = library, suffix, result, recorder
    try:
        _Body(*common, primal).rewrite(graph_def.node)
        for name, function in library.items():
            _Body(*common, None if name in recorded else (), True).rewrite_function(function)
    except private.Unavailable as error:
        raise PromotionError(str(error)) from error
    for function in library.values():
        function.signature.name += suffix
    del graph_def.library.gradient[:]
    return result


@dataclass
class _Body:
    """Rewrites the nodes of the main graph, or of one function."""

    library: dict[str, Any]
    suffix: str
    result: Rewritten
    recorder: Recorder
    recorded: Collection[str] | None  # the nodes whose stop_gradients are frozen; None: all
    in_function: bool = False
    renamed: dict[str, str] = field(default_factory=dict)  # references that go through a cast now
    downs: list[Any] = field(default_factory=list)  # casts to the native dtype, before a native op
    ups: list[Any] = field(default_factory=list)  # and from it, after one

    def rewrite_function(self, function: Any) -> None:
        for arg in [*function.signature.input_arg, *function.signature.output_arg]:
            arg.type = _WIDER.get(arg.type, arg.type)
        for attrs in function.arg_attr.values():
            self._promote_attrs(attrs.attr)
        for name in _DROPPED_FUNCTION_ATTRS:
            function.attr.pop(name, None)
        function.signature.is_stateful = True
        self.rewrite(function.node_def)
        for key, ref in list(function.ret.items()):
            function.ret[key] = self.renamed.get(ref, ref)

    def rewrite(self, nodes: Any) -> None:
        """Rewrites nodes in place."""
        for node in nodes:
            node.device = ""
            for name in _DROPPED_NODE_ATTRS:
                node.attr.pop(name, None)
            if node.op in self.library:
                node.op += self.suffix
                self._promote_attrs(node.attr)
                continue
            self.result.ops.add(node.op)
            frozen = self.recorded is None or node.name in self.recorded
            if node.op == "StopGradient" and frozen:
                self._record(node)
                continue
            self._rewrite_node(node)
            if node.op in _ASSIGNMENTS and frozen:
                self._record_assigned(node)
        arguments = {f"^{node.name}" for node in nodes if node.op == "Placeholder"}
        for node in itertools.chain(nodes, self.downs):
            # Arguments are replaced on import, but a control dependency on one would stay.
            kept = [self.renamed.get(ref, ref) for ref in node.input if ref not in arguments]
            node.input[:] = kept
        nodes.extend(self.downs + self.ups)

    def _record(self, node: tf.compat.v1.NodeDef, resource: str = "") -> None:
        dtype = wider(tf.as_dtype(node.attr["T"].type))
        if not differentiable(dtype):
            return
        node.op = "PyFunc"
        token = self.recorder.token(dtype, resource)
        del node.attr["T"]
        _make_python(node, token, dtype)

    def _record_assigned(self, node: tf.compat.v1.NodeDef) -> None:
        """Puts a recorder in front of the value that a variable is assigned."""
        if not differentiable(tf.as_dtype(node.attr["dtype"].type)):
            return
        resource = "" if self.in_function or node.op != "AssignVariableOp" else node.input[0]
        identity = type(node)(name=f"{node.name}__assigned", op="Identity", input=[node.input[1]])
        identity.attr["T"].type = node.attr["dtype"].type
        self._record(identity, resource.removesuffix(":0"))
        node.input[1] = f"{identity.name}:output:0" if self.in_function else identity.name
        self.downs.append(identity)

    def _rewrite_node(self, node: tf.compat.v1.NodeDef) -> None:
        definition, result = private.op_def(node.op), self.result
        inputs, outputs = definition.input_arg, definition.output_arg
        old_inputs, old_outputs = _arg_types(inputs, node), _arg_types(outputs, node)
        result.low_dtypes.update(
            t for _, _, t in old_inputs + old_outputs if t in _WIDER and node.op != "Const"
        )
        if not _stays_native(node):
            self._promote_attrs(node.attr)
            node.op = _STATEFUL.get(node.op, node.op)
        rounded, sampler, wide = False, SAMPLERS.get(node.op), list(node.input)
        # Whatever is still narrow (all of a native op, a fixed dtype elsewhere) is cast.
        for i, (_, _, new) in enumerate(_arg_types(inputs, node)):
            wanted = _WIDER.get(old_inputs[i][2], old_inputs[i][2])
            if wanted != new:
                name = f"{node.name}__down{i}"
                self.downs.append(_cast(type(node), name, node.input[i], wanted, new))
                node.input[i] = f"{name}:y:0" if self.in_function else name
                result.native_ops.add(node.op)
                rounded = True
        for i, (arg, k, new) in enumerate(_arg_types(outputs, node)):
            wanted = _WIDER.get(old_outputs[i][2], old_outputs[i][2])
            if wanted != new or sampler is not None:
                name = f"{node.name}__up{i}"
                ref = f"{node.name}:{arg}:{k}" if self.in_function else f"{node.name}:{i}"
                read = ref if self.in_function or i else node.name
                self.ups.append(_cast(type(node), name, read, new, wanted))
                cast = f"{name}:y:0" if self.in_function else name
                result.native_ops.add(node.op)
                if sampler is not None:
                    cast = self._resampled(sampler, cast, [wide[p] for p in sampler.parameters])
                else:
                    # Random ops whose parameters are fixed draw the same numbers; all others round.
                    result.lossy |= rounded or not RANDOM_OPS.search(node.op)
                self.renamed[ref] = self.renamed[read] = cast

    def _resampled(self, sampler: Sampler, drawn: str, parameters: Sequence[str]) -> str:
        """Returns a reference to samples that move with their parameters; see `samplers`."""
        name = drawn.partition(":")[0] + "_moved"
        node = tf.compat.v1.NodeDef(name=name, op="PyFunc", input=[drawn, *parameters])
        token = self.recorder.sampler(tf.float64, len(parameters), sampler.moved)
        _make_python(node, token, tf.float64, 1 + len(parameters))
        self.downs.append(node)
        return f"{name}:output:0" if self.in_function else name

    def _promote_attrs(self, attrs: Mapping[str, Any]) -> None:
        for attr in attrs.values():
            kind = attr.WhichOneof("value")
            if kind == "type":
                attr.type = _WIDER.get(attr.type, attr.type)
            elif kind == "tensor" and attr.tensor.dtype in _WIDER:
                dtype = tf.as_dtype(_WIDER[attr.tensor.dtype]).as_numpy_dtype
                array = tf.make_ndarray(attr.tensor)
                attr.tensor.CopyFrom(tf.make_tensor_proto(array.astype(dtype), shape=array.shape))
            elif kind == "func":
                self._rename(attr.func)
            elif kind == "list":
                attr.list.type[:] = [_WIDER.get(dtype, dtype) for dtype in attr.list.type]
                for func in attr.list.func:
                    self._rename(func)

    def _rename(self, func: Any) -> None:
        if func.name in self.library:
            func.name += self.suffix
        self._promote_attrs(func.attr)


def _make_python(node: tf.compat.v1.NodeDef, token: str, dtype: tf.DType, inputs: int = 1) -> None:
    """Makes a node one that calls the Python function of a token."""
    node.op = "PyFunc"
    node.attr["token"].s = token.encode()
    node.attr["Tin"].list.type.extend([dtype.as_datatype_enum] * inputs)
    node.attr["Tout"].list.type.append(dtype.as_datatype_enum)


def _arg_types(args: Any, node: tf.compat.v1.NodeDef) -> list[tuple[str, int, int]]:
    """Expands an OpDef's arguments for one node: (argument, position in it, dtype) for each tensor.

    References (`Ref` dtypes of TensorFlow 1) are 100 above the plain dtype and left alone.
    """
    types = []
    for arg in args:
        if arg.type_list_attr:
            dtypes = list(node.attr[arg.type_list_attr].list.type)
        else:
            dtype = arg.type or node.attr[arg.type_attr].type
            dtypes = [dtype] * (node.attr[arg.number_attr].i if arg.number_attr else 1)
        types += [(arg.name, k, dtype) for k, dtype in enumerate(dtypes)]
    return types


def _stays_native(node: tf.compat.v1.NodeDef) -> bool:
    random = RANDOM_OPS.search(node.op) and node.op not in _VALUE_BLIND
    if random or node.op in _NATIVE_EXACTLY:
        return True
    wanted = {key: _WIDER.get(a.type, a.type) for key, a in node.attr.items() if a.HasField("type")}
    constraints = private.cpu_constraints(node.op)
    return constraints is not None and not any(
        all(wanted[key] in allowed for key, allowed in kernel.items() if key in wanted and allowed)
        for kernel in constraints
    )


def _cast(
    node_type: type[tf.compat.v1.NodeDef], name: str, ref: str, source: int, target: int
) -> tf.compat.v1.NodeDef:
    node = node_type(name=name, op="Cast", input=[ref])
    node.attr["SrcT"].type, node.attr["DstT"].type = source, target
    node.attr["Truncate"].b = False
    return node


def _callees_first(names: Iterable[str], library: dict[str, Any]) -> dict[str, Any]:
    """Returns these functions and all that they call, each after those that it calls."""
    ordered: dict[str, Any] = {}

    def visit(name: str) -> None:
        if name not in ordered:
            for callee in sorted(_called(library[name].node_def, library) - {name}):
                visit(callee)
            ordered[name] = library[name]

    for name in names:
        visit(name)
    return ordered


def _called(nodes: Iterable[tf.compat.v1.NodeDef], library: dict[str, Any]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        names.add(node.op)
        for attr in node.attr.values():
            names.update([attr.func.name], (f.name for f in attr.list.func))
    return names & library.keys()
