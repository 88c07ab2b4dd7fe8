"""Draws mutants with cosmic-ray, in its own environment, and prints them as JSON: `mutants_draw.py SEED N FILE ...`

A place in the text is drawn first, then one of the changes that cosmic-ray has for it: `a < b` can become
seven things, and would be drawn seven times as often as `not a`.
"""

from __future__ import annotations

import ast
import json
import random
import sys
from collections import defaultdict
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

OPERATORS = {n: op() for n in operator_names() if not (op := get_operator(n)).arguments()}
# `==` as `is` differs for no small number, no interned string and no member of an enumeration.
LEFT_OUT = ("_Eq_Is", "_NotEq_IsNot", "_Is_Eq", "_IsNot_NotEq")
CACHES = ("cache", "lru_cache", "cached_property")


class Meaning(ast.NodeTransformer):
    """A module without what no test should tell: annotations (they are never evaluated), caches, `slots`,
    `zip`'s `strict` (an assertion that never fails), and how large a large number is to less than a percent
    (rates that were measured, sizes of caches)."""

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns = None
        node.decorator_list = [d for d in node.decorator_list if not is_cache(d)]
        return node

    def visit_If(self, node):
        self.generic_visit(node)
        names = {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
        return None if "TYPE_CHECKING" in names else node

    def visit_keyword(self, node):
        return None if node.arg in ("strict", "slots") else self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, int | float) and node.value >= 500:
            node.value = float(f"{node.value:.1e}")
        return node


def is_cache(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called).split(".")[-1] in CACHES


def meaning(source: str) -> str | None:
    """None for what is no Python: `2**not n`, of `2**-n`."""
    try:
        return ast.dump(Meaning().visit(ast.parse(source)))
    except SyntaxError:
        return None


def places(path: str) -> list[list[tuple[str, str, int]]]:
    """Of each place in a file that some operator changes: its mutants."""
    found = defaultdict(list)
    tree = get_ast(Path(path).read_text("utf-8"))
    nodes = list(ast_nodes(tree))
    for name, operator in OPERATORS.items():
        spots = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for n, spot in enumerate(spots):
            if not name.endswith(LEFT_OUT):
                found[spot].append((path, name, n))
    return list(found.values())


def main() -> None:
    seed, n, *paths = sys.argv[1:]
    rng = random.Random(int(seed))
    everywhere = [place for path in paths for place in places(path)]
    rng.shuffle(everywhere)
    drawn = []
    for place in everywhere:
        if len(drawn) == int(n):
            break
        path, operator, occurrence = rng.choice(place)
        source = Path(path).read_text("utf-8")
        mutated = mutate_code(source, OPERATORS[operator], occurrence)
        if mutated and meaning(mutated) not in (None, meaning(source)):
            drawn.append({"path": path, "operator": operator, "source": mutated})
    json.dump(drawn, sys.stdout)


if __name__ == "__main__":
    main()
