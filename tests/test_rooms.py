"""The walls of the house: what each room imports, that no circle runs through it, what is pure."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import tf_einsum_grad

ROOT = Path(tf_einsum_grad.__file__).parent
GROUND = {"_lazy", "_version"}  # of no room: how packages find names, and the version

# A room with the rooms that it may import; a module of its own at the top is a room as well.
DOORS: dict[str, set[str]] = {
    "text": set(),
    "algebra": set(),
    "lowering": {"algebra"},
    "planning": {"algebra", "lowering"},
    "execution": {"algebra", "lowering", "planning"},
    "explaining": {"algebra", "lowering", "planning", "text"},
    "draw": {"algebra", "explaining"},
    "attending": {"algebra", "lowering", "planning", "execution"},
    "keras": {"attending", "algebra", "planning", "execution"},
    "ops": {"algebra", "planning", "execution", "keras"},
    "installation": {"algebra", "planning", "execution", "keras", "ops"},
    "per_example": {"algebra", "lowering", "planning", "execution"},
    "gradcheck": {"text"},
}
EVERYTHING = {*DOORS, "tf_einsum_grad"}
DOORS |= {
    "benchmark": EVERYTHING - {"tf_einsum_grad"},
    "tuning": EVERYTHING - {"tf_einsum_grad"} | {"benchmark"},
    "profiling": EVERYTHING - {"tf_einsum_grad"} | {"benchmark"},
    "tf_einsum_grad": EVERYTHING | {"benchmark", "tuning", "profiling"},
    "cli": EVERYTHING | {"benchmark", "tuning", "profiling"},
    "__main__": {"cli"},
}
PURE = ("text", "algebra", "lowering", "planning", "explaining")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def room(module: str) -> str:
    parts = module.split(".")
    if parts[-1] == "__main__":  # `python -m`: a door from outside
        return parts[-1]
    return parts[1] if len(parts) > 1 else parts[0]


def imports(module: str) -> set[str]:
    """Every module of ours that a module names, at its top, in a function or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = below & MODULES.keys()
            found |= modules
            if modules != below:
                found.add(str(node.module))
    return {name for name in found if name in MODULES} - {module}


def test_every_room_has_a_place_in_the_table():
    assert {room(module) for module in MODULES} - GROUND == DOORS.keys()


@pytest.mark.parametrize("module", MODULES)
def test_doors(module):
    here = room(module)
    entered = {room(name) for name in imports(module)} - {here} - GROUND
    assert entered <= DOORS.get(here, set())


def test_no_circle():
    graph = {module: imports(module) for module in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_a_circle_would_be_found(monkeypatch, tmp_path):
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.py").write_text(f"def f():\n    from pkg import {other}\n")
    modules = {f"pkg.{name}": tmp_path / f"{name}.py" for name in ("one", "two")}
    monkeypatch.setattr(sys.modules[__name__], "MODULES", modules)
    assert imports("pkg.one") == {"pkg.two"} and imports("pkg.two") == {"pkg.one"}
    with pytest.raises(pytest.fail.Exception, match=r"pkg\.one"):
        test_no_circle()


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


PURE_MODULES = [module for module in MODULES if room(module) in PURE]


@pytest.mark.parametrize(
    "code",
    [
        "\n".join(f"import {module}" for module in PURE_MODULES),
        "import tf_einsum_grad as t; t.gradient_equations('ij,jk->ik'); t.EinsumError",
        "import tf_einsum_grad as t; str(t.explain('ij,jk->ik', (2, 3), (3, 4)))",
    ],
)
def test_what_is_pure_imports_no_tensorflow(code):
    assert run(f"{code}\nimport sys; print('tensorflow' in sys.modules)").split()[-1] == "False"


@pytest.mark.parametrize("module", PURE_MODULES)
def test_what_is_pure_names_no_tensorflow(module):
    """Nor in a function: a lazy import would pass the test above."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names = [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not {name.split(".")[0] for name in names} & {"tensorflow", "keras"}


def test_names_are_found_when_used():
    # Whatever was imported before: a module must not hide a function of the same name.
    code = """
import tf_einsum_grad as t
kinds = {name: type(getattr(t, name)).__name__ for name in t.__all__}
again = {name: type(getattr(t, name)).__name__ for name in t.__all__}
print(kinds == again, set(t.__all__) <= set(dir(t)), sorted(set(kinds.values())))
"""
    assert run(code) == "True True ['function', 'module', 'str', 'type']\n"


def test_unknown_names_are_attribute_errors():
    code = "import tf_einsum_grad as t\ntry: t.nonsense\nexcept AttributeError as e: print(e)"
    assert "nonsense" in run(code)


def test_pictures_are_found_where_users_look_for_them():
    code = "import tf_einsum_grad as t; print(t.draw.draw_equation.__name__)"
    assert run(code) == "draw_equation\n"
