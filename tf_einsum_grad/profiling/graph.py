"""What a traced graph multiplies, and what of it is differentiated: read off its GraphDef.

Gradients flow through the ops that what is differentiated flows into: forward reachability from
its nodes, through calls, branches and loops, is what a step has to differentiate.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.sizes import Shape

__all__ = ["Graph", "Product"]

_PRODUCTS = ("Einsum", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
# Ops that call a function of the library, by the attributes that name it.
_CALLS = ("f", "body", "cond", "then_branch", "else_branch", "branches")
_LOOPS = ("While", "StatelessWhile")
# What has no gradient, whatever flows into it.
_STOPS = {
    "StopGradient", "PreventGradient", "Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike",
    "ArgMax", "ArgMin", "Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual",
    "BroadcastGradientArgs", "Sign", "Floor", "Ceil", "Round", "IsNan", "IsFinite", "Assert",
}  # fmt: skip

# What is known of the outputs of nodes, as protocol buffers.
Shapes = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Product:
    """A product that a function runs.

    Attributes:
        path: the layers that it is in, from the outermost, as name scopes have them.
        call: what was called: "tf.einsum", "keras.ops.einsum" (which Keras runs "as matmul" where
            it can), "tf_einsum_grad.einsum", "Einsum" (an op that was traced before), or "matmul".
        equation: what it computes.
        shapes: of the operands; None for sizes, and ranks, that are unknown.
        dtype: of the operands.
        needed: the operands whose gradients a step needs.
        loop: whether it is in a loop, which runs it more often than once.
    """

    path: str
    call: str
    equation: str
    shapes: tuple[Shape | None, ...]
    dtype: str
    needed: tuple[int, ...]
    loop: bool = False


class Graph:
    """A GraphDef with shapes, as `graph.as_graph_def(add_shapes=True)` gives it.

    Args:
        graph_def: the graph and its library of functions.
        sources: names of nodes that are differentiated with respect to: placeholders of inputs and
            of variables.
    """

    def __init__(
        self, graph_def: Any, sources: Collection[str], results: Collection[str] = ()
    ) -> None:
        self._library = {
            function.signature.name: function for function in graph_def.library.function
        }
        self._nodes = _needed(list(graph_def.node), set(results))
        self._flowing: set[str] = set()
        self._found: list[tuple[Any, Shapes, bool]] = []
        self._in_loops: set[str] = set()
        self._flow(self._nodes, set(sources), {}, loop=False, collect=True)

    def names(self) -> Iterator[str]:
        """Every node's name."""
        return (node.name for node, _, _ in self._found)

    def is_differentiated(self, node: str) -> bool:
        """Whether what is differentiated flows into a node, or the argument made of it."""
        return node in self._flowing or re.sub(r"\W", "_", node).lower() in self._flowing

    def in_loop(self, node: str) -> bool:
        """Whether a node is in the body of a loop."""
        return node in self._in_loops

    def products(self, leave_out: Collection[str] = ()) -> Iterator[Product]:
        """The products but for the nodes that are left out, in the order of the graph."""
        for node, shapes, loop in self._found:
            if node.op not in _PRODUCTS or node.name in leave_out:
                continue
            given = [name for name in node.input if not name.startswith("^")]
            flowing = [k for k, x in enumerate(given) if _node(x) in self._flowing]
            yield Product(
                scope(node.name),
                "Einsum" if node.op == "Einsum" else "matmul",
                _equation(node),
                tuple(_shape(x, shapes) for x in given),
                _dtype(node),
                tuple(flowing),
                loop,
            )

    def _flow(
        self, nodes: Any, flowing: set[str], arguments: Shapes, *, loop: bool, collect: bool
    ) -> set[str]:
        """Adds the nodes that what is differentiated flows into; `arguments` have their shapes."""
        shapes = dict(arguments)
        for node in nodes:
            given = [name for name in node.input if not name.startswith("^")]
            shapes[node.name] = node.attr["_output_shapes"].list.shape
            reached = any(_node(x) in flowing for x in given)
            if reached and node.op not in _STOPS:
                flowing.add(node.name)
            if collect:
                self._found.append((node, shapes, loop))
                if loop:
                    self._in_loops.add(node.name)
            for function in self._called(node):
                self._call(function, node, given, flowing, shapes, loop=loop, collect=collect)
        self._flowing |= flowing
        return flowing

    def _called(self, node: Any) -> Iterator[Any]:
        for attribute in _CALLS:
            if attribute not in node.attr:
                continue
            value = node.attr[attribute]
            for function in [value.func] if value.HasField("func") else value.list.func:
                if function.name in self._library:
                    yield self._library[function.name]

    def _call(
        self,
        function: Any,
        node: Any,
        given: list[str],
        flowing: set[str],
        shapes: Shapes,
        *,
        loop: bool,
        collect: bool,
    ) -> None:
        arguments = [x.name for x in function.signature.input_arg]
        given = given[-len(arguments) :] if arguments else []  # but for what chooses a branch
        inside = {a for a, x in zip(arguments, given, strict=True) if _node(x) in flowing}
        known = {a: [_proto(x, shapes)] for a, x in zip(arguments, given, strict=True)}
        is_loop = node.op in _LOOPS
        if is_loop and collect:  # what flows out of a turn flows into the next
            turns = self._flow(function.node_def, set(inside), known, loop=True, collect=False)
            results = [function.ret[x.name] for x in function.signature.output_arg]
            inside |= {a for a, x in zip(arguments, results, strict=False) if _node(x) in turns}
        self._flow(function.node_def, inside, known, loop=loop or is_loop, collect=collect)


def scope(name: str) -> str:
    """The layers that a node is in, without the names that TensorFlow and Keras give products.

    Example:
        >>> scope("model/block/query/einsum_1/Einsum"), scope("dense/Tensordot/MatMul")
        ('model/block/query', 'dense')
    """
    parts = name.split("/")[:-1]
    while parts and parts[-1].rstrip("0123456789").rstrip("_").lower() in ("einsum", "tensordot"):
        parts.pop()
    return "/".join(parts)


def _needed(nodes: list[Any], results: set[str]) -> list[Any]:
    """The nodes that results or assignments need, in their order."""
    if not results:
        return nodes
    known = {node.name: node for node in nodes}
    left = [*results, *(node.name for node in nodes if node.op.startswith("Assign"))]
    seen: set[str] = set()
    while left:
        name = left.pop()
        if name not in seen and name in known:
            seen.add(name)
            left += [_node(x.lstrip("^")) for x in known[name].input]
    return [node for node in nodes if node.name in seen]


def _proto(name: str, shapes: Shapes) -> Any:
    """The shape of an output: "node" or "node:1" in a graph, "node:output:1" in a function."""
    node, _, rest = name.partition(":")
    known, k = shapes.get(node, ()), int(rest.rpartition(":")[2] or 0)
    return known[k] if k < len(known) else None


def _shape(name: str, shapes: Shapes) -> Shape | None:
    proto = _proto(name, shapes)
    if proto is None or proto.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in proto.dim)


def _node(name: str) -> str:
    return name.split(":")[0]


def _dtype(node: Any) -> str:
    attribute = node.attr["Ta"] if node.op == "BatchMatMulV3" else node.attr["T"]
    name: str = tf.as_dtype(attribute.type).name
    return name


def _equation(node: Any) -> str:
    """What a product computes, in terms of an einsum."""
    if node.op == "Einsum":
        text: str = node.attr["equation"].s.decode()
        return text
    names = ("transpose_a", "transpose_b") if node.op == "MatMul" else ("adj_x", "adj_y")
    first, second = (node.attr[name].b for name in names)
    more = "" if node.op == "MatMul" else "..."
    return f"{more}{'ji' if first else 'ij'},{more}{'kj' if second else 'jk'}->{more}ik"
