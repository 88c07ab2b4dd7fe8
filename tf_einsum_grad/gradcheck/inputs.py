"""From what people pass to a `Problem`: calling conventions, names, the choice of leaves."""

from __future__ import annotations

import fnmatch
import functools
import inspect
import itertools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.problem import Leaf, Problem, Tensors, flattened, static_shape, trace
from tf_einsum_grad.gradcheck.promote import differentiable

VariableChoice = str | tf.Variable | Iterable[str | tf.Variable] | None
InputChoice = int | str | Iterable[int | str] | None
Loss = Callable[[Any], Any] | tuple[Any, Any] | None
_INTEGERS = (bool, int, np.bool_, np.integer)  # axes, shapes, counts: Python code wants them
_AS_THEY_ARE = (*_INTEGERS, str, bytes)
Named = tuple[str, str, Any]  # a top-level name, a full name, a value


def build_problem(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    variables: VariableChoice,
    wrt: InputChoice,
    loss: Loss,
    training: bool | None,
) -> Problem:
    """Makes a function and its inputs a problem.

    A tuple or list holds the positional arguments where the function takes that many; a dict whose
    keys are parameter names holds keyword arguments; anything else, and a list or dict given to a
    Keras model, is one argument.

    Raises:
        ValueError: nothing to differentiate, an unknown name, or a fn that cannot be called.
    """
    if not callable(fn):
        raise ValueError(f"fn must be callable, got {type(fn).__name__}")
    args, kwargs = _bind(fn, inputs)
    if training is not None:
        if not _takes_training(fn):
            raise ValueError("training= was given, but fn takes no `training` argument")
        kwargs["training"] = training
    if isinstance(fn, keras.layers.Layer) and not fn.built:
        fn(*args, **{**kwargs, "training": False})
    named = list(_named(_argument_names(fn, args), args, kwargs))
    flat = [value for _, _, value in named]
    # Copies: were the same tensor passed twice, its two gradients would be one.
    tensors = [tf.identity(tf.convert_to_tensor(v)) if _becomes_tensor(v) else None for v in flat]
    structure = (args, kwargs)
    loss_fn = _loss(loss)

    def call_with(callee: Callable[..., Any], given: Tensors) -> list[tf.Tensor]:
        it = iter(given)
        filled = [v if t is None else next(it) for v, t in zip(flat, tensors, strict=True)]
        a, k = tf.nest.pack_sequence_as(structure, filled, expand_composites=True)
        outputs = callee(*a, **k)
        return flattened(loss_fn(outputs) if loss_fn else outputs)

    problem = Problem(
        call=functools.partial(call_with, fn),
        args=[t for t in tensors if t is not None],
        leaves=[],
        model=fn if isinstance(fn, keras.layers.Layer) else None,
        call_with=call_with,
    )
    trace(problem, functools.partial(call_with, tf.function(fn)))
    _choose_inputs(problem, named, tensors, wrt)
    _choose_variables(problem, _holders(fn), variables, [v for v in flat if _is_variable(v)])
    if not problem.leaves:
        raise ValueError("nothing to differentiate: no floating or complex input or variable")
    if problem.concrete is not None and not problem.output_dtypes:
        raise ValueError("nothing to differentiate: no floating or complex output")
    return problem


_MODULES = (tf.Module, keras.layers.Layer)
# Whose objects hold no variables of their own, or say which.
_LIBRARIES = frozenset({"builtins", "keras", "numpy", "tensorflow"})


def _bind(fn: Any, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(inputs, tuple) and not hasattr(inputs, "_fields"):
        return list(inputs), {}
    layer = isinstance(fn, keras.layers.Layer)
    if isinstance(inputs, list) and not layer and _accepts(fn, *inputs):
        return list(inputs), {}
    named = isinstance(inputs, dict) and all(isinstance(key, str) for key in inputs)
    if named and not isinstance(fn, keras.Model) and _accepts(fn, **inputs):
        return [], dict(inputs)
    return [inputs], {}


def _signature(fn: Any) -> inspect.Signature | None:
    if isinstance(fn, keras.layers.Layer):
        fn = fn.call
    try:
        return inspect.signature(getattr(fn, "python_function", fn))
    except (TypeError, ValueError):  # a builtin without a signature
        return None


def _accepts(fn: Any, *args: Any, **kwargs: Any) -> bool:
    signature = _signature(fn)
    if signature is None:
        return not kwargs
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _takes_training(fn: Any) -> bool:
    signature = _signature(fn)
    if isinstance(fn, keras.layers.Layer) or signature is None:
        return True
    kinds = [p.kind for p in signature.parameters.values()]
    return "training" in signature.parameters or inspect.Parameter.VAR_KEYWORD in kinds


def _argument_names(fn: Any, args: Sequence[Any]) -> list[str]:
    signature = _signature(fn) or inspect.Signature()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, p in signature.parameters.items() if p.kind in plain]
    return [names[i] if i < len(names) else f"inputs[{i}]" for i in range(len(args))]


def _named(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Named]:
    """Yields all values with their names, in the order of tf.nest.flatten((args, kwargs))."""
    for name, arg in [*zip(names, args, strict=True), *sorted(kwargs.items())]:
        for path, value in _paths(name, arg):
            yield name, path, value


def _paths(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _paths(f"{name}[{key!r}]", value[key])
    elif isinstance(value, (list, tuple)):
        fields = getattr(value, "_fields", range(len(value)))
        for key, item in zip(fields, value, strict=True):
            yield from _paths(f"{name}.{key}" if isinstance(key, str) else f"{name}[{key}]", item)
    else:
        parts = tf.nest.flatten(value, expand_composites=True)
        for i, part in enumerate(parts):
            yield (f"{name}.component{i}" if len(parts) > 1 else name), part


def _is_variable(value: Any) -> bool:
    return isinstance(value, (tf.Variable, keras.Variable))


def _becomes_tensor(value: Any) -> bool:
    """Whether an input is a tensor to the function; all others are passed on as they are."""
    if isinstance(value, keras.KerasTensor):
        raise ValueError("inputs must be concrete values, got a symbolic KerasTensor")
    if value is None or isinstance(value, _AS_THEY_ARE) or _is_variable(value):
        return False
    number = isinstance(value, (float, complex))
    return number or tf.is_tensor(value) or hasattr(value, "__array__")


def _loss(loss: Loss) -> Callable[[Any], Any] | None:
    """Makes a callable of the outputs of a loss: one, or (a Keras loss or its name, targets)."""
    if isinstance(loss, tuple) and len(loss) == 2:
        function, targets = loss
        function = keras.losses.get(function)
        return lambda outputs: function(targets, outputs)
    if loss is None or callable(loss):
        return loss
    raise ValueError(
        f"loss must be a function of the outputs, or (a Keras loss, targets), got {loss!r}"
    )


def _choose_inputs(
    problem: Problem, named: Sequence[Named], tensors: Sequence[tf.Tensor | None], wrt: InputChoice
) -> None:
    wanted = None if wrt is None else [wrt] if isinstance(wrt, (str, int)) else list(wrt)
    roots = list(dict.fromkeys(root for root, _, _ in named))

    def fits(choice: int | str, root: str, full: str) -> bool:
        if isinstance(choice, int):
            return -len(roots) <= choice < len(roots) and roots[choice] == root
        return any(fnmatch.fnmatchcase(name, choice) for name in (full, root))

    for choice in wanted or []:
        if not any(fits(choice, root, full) for root, full, _ in named):
            names = ", ".join(full for _, full, _ in named)
            raise ValueError(f"wrt names no input: {choice!r}; the inputs are {names}")
    position = 0
    for (root, full, value), tensor in zip(named, tensors, strict=True):
        if tensor is None:
            if isinstance(value, _INTEGERS):
                problem.skipped.append(Leaf(full, (), tf.as_dtype(np.dtype(type(value)))))
            continue
        leaf = Leaf(full, static_shape(tensor), tensor.dtype, position)
        chosen = wanted is None or any(fits(choice, root, full) for choice in wanted)
        keep = chosen and differentiable(tensor.dtype)
        (problem.leaves if keep else problem.skipped).append(leaf)
        position += 1


def _choose_variables(
    problem: Problem, holders: Sequence[Any], choice: VariableChoice, passed: Sequence[tf.Variable]
) -> None:
    every, trainable = _find_variables(problem, holders, passed)
    names = _variable_names(holders, every)
    if choice is None:
        chosen = []
    elif isinstance(choice, str) and choice in ("trainable", "all"):
        chosen = trainable if choice == "trainable" else every
    else:
        chosen = _unique(_named_variables(choice, every, names))
    copies = (copy for v in every for copy in _copies(v))  # first: a handle means the variable
    problem.variables = _unique([*copies, *every, *_side_variables(holders), *chosen])
    for v in chosen:
        if differentiable(v.dtype):
            name = names.get(v.ref()) or v.name.removesuffix(":0")
            problem.leaves.append(Leaf(name, static_shape(v), v.dtype, v))


def _named_variables(
    choice: Any, every: Sequence[tf.Variable], names: Mapping[Any, str]
) -> list[tf.Variable]:
    if isinstance(choice, str) or _is_variable(choice) or not isinstance(choice, Iterable):
        choice = [choice]
    chosen: list[tf.Variable] = []
    for item in choice:
        if _is_variable(item):
            chosen.append(item)
            continue
        if not isinstance(item, str):
            raise ValueError(f"variables must hold names and variables, got {item!r}")
        matches = [v for v in every if fnmatch.fnmatchcase(names[v.ref()], item)]
        if not matches:
            known = ", ".join(names[v.ref()] for v in every) or "none"
            raise ValueError(f"variables: nothing matches {item!r}; there are: {known}")
        chosen += matches
    return chosen


def _find_variables(
    problem: Problem, holders: Sequence[Any], passed: Sequence[Any]
) -> tuple[list[tf.Variable], list[tf.Variable]]:
    """Returns all and the trainable variables: passed, of the model, of fn's closure, its trace."""
    every, trainable, owned = [*passed], [*passed], []
    for holder in holders:
        if _is_variable(holder):
            every.append(holder)
            trainable += [holder] if holder.trainable else []
        else:
            every += holder.weights if isinstance(holder, keras.layers.Layer) else holder.variables
            trainable += holder.trainable_variables
            owned += holder.variables
    copies = [c for v in _unique([*every, *owned]) for c in _copies(v)]
    known = {v.ref() for v in _unique([*owned, *copies])}
    traced = problem.concrete.graph.variables if problem.concrete is not None else ()
    extra = [v for v in traced if v.ref() not in known]
    return _unique([*every, *extra]), _unique([*trainable, *(v for v in extra if v.trainable)])


def _copies(variable: tf.Variable) -> Sequence[tf.Variable]:
    """Returns a variable's copies, one a replica, where a `tf.distribute.Strategy` made it.

    A trace captures one of them, but it is no variable of its own.
    """
    copies: Sequence[tf.Variable] = getattr(variable, "values", ())
    return copies


def _side_variables(holders: Sequence[Any]) -> Iterator[Any]:
    """Yields state that a call may change but that has no gradient: seeds, metrics, slots."""
    for holder in holders:
        if not _is_variable(holder):
            yield from holder.variables
            slots = getattr(getattr(holder, "optimizer", None), "variables", [])
            yield from slots() if callable(slots) else slots


def _holders(fn: Any) -> list[Any]:
    """Returns variables and modules that fn is, is bound to, closes over, or names as globals."""
    found: list[Any] = []
    seen: dict[int, object] = {}  # by id; kept alive, so that no other object gets the same one

    def visit(thing: Any, depth: int) -> None:
        if id(thing) in seen or depth > 4:
            return
        seen[id(thing)] = thing
        if _is_variable(thing) or isinstance(thing, _MODULES):
            found.append(thing)
            if isinstance(thing, tf.Module):  # it does not see Keras layers inside
                visit(list(vars(thing).values()), depth)
        elif isinstance(thing, (list, tuple)) and len(thing) <= 1000:
            for item in thing:
                visit(item, depth + 1)
        elif isinstance(thing, dict) and len(thing) <= 1000:
            visit(list(thing.values()), depth + 1)
        elif isinstance(thing, functools.partial):
            visit([thing.func, thing.args, thing.keywords], depth + 1)
        elif isinstance(thing, types.MethodType):
            visit([thing.__self__, thing.__func__], depth)
        elif isinstance(thing, types.FunctionType):
            visit(list(_names_used(thing)), depth)
        elif inspect.getattr_static(thing, "python_function", None) is not None:  # a tf.function
            visit(thing.python_function, depth)
        elif _plain(thing):
            visit([*_attributes(thing), vars(type(thing)).get("__call__")], depth)

    visit(fn, 0)
    return found


def _names_used(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
    yield from function.__defaults__ or ()
    kinds = (*_MODULES, types.FunctionType)
    for name in sorted(_global_names(function.__code__)):
        value = function.__globals__.get(name)
        if _is_variable(value) or isinstance(value, kinds) or _plain(value):
            yield value


def _plain(thing: Any) -> bool:
    """Whether a thing is an instance of a class that people wrote, and may hold variables."""
    kind = type(thing)
    foreign = kind.__module__.partition(".")[0] in _LIBRARIES
    return not foreign and not isinstance(thing, (type, types.ModuleType))


def _attributes(thing: Any) -> list[Any]:
    """Returns what an instance holds, in `__dict__` and slots; no code of its class runs."""
    found = list(vars(thing).values()) if type(thing).__dictoffset__ else []
    for kind in type(thing).__mro__:
        for member in vars(kind).values():
            if isinstance(member, types.MemberDescriptorType):
                with suppress(AttributeError):  # a slot that holds nothing yet
                    found.append(member.__get__(thing))
    return found


def _global_names(code: types.CodeType) -> set[str]:
    nested = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*map(_global_names, nested))


def _unwrap(variable: Any) -> tf.Variable:
    """Returns the tf.Variable inside a Keras variable."""
    found: tf.Variable = variable.value if isinstance(variable, keras.Variable) else variable
    return found


def _unique(variables: Iterable[Any]) -> list[tf.Variable]:
    """Returns the tf.Variables, each once, of variables of TensorFlow and Keras."""
    return list({v.ref(): v for v in map(_unwrap, variables)}.values())


def _variable_names(holders: Sequence[Any], variables: Sequence[tf.Variable]) -> dict[Any, str]:
    """Returns readable, unique names: Keras paths without the model's own name in front."""
    paths: dict[Any, str] = {}  # by the variables' `ref()`
    for holder in holders:
        if isinstance(holder, keras.layers.Layer):
            prefix = f"{holder.name}/" if isinstance(holder, keras.Model) else ""
            for v in holder.variables:
                paths.setdefault(_unwrap(v).ref(), v.path.removeprefix(prefix))
        elif isinstance(holder, keras.Variable):
            paths.setdefault(_unwrap(holder).ref(), holder.path)
    names: dict[Any, str] = {}
    taken: set[str] = set()
    for v in variables:
        stem = paths.get(v.ref()) or v.name.removesuffix(":0")
        candidates = itertools.chain([stem], (f"{stem}_{i}" for i in itertools.count(1)))
        names[v.ref()] = next(name for name in candidates if name not in taken)
        taken.add(names[v.ref()])
    return names
