"""What `check` found, on the screen and in files that say the same."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_einsum_grad.benchmark.environment import describe_environment
from tf_einsum_grad.benchmark.results import Environment
from tf_einsum_grad.gradcheck.report import GradientReport
from tf_einsum_grad.text.pages import Html, element, html_table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["AgainstNative", "Outcome"]

_STYLE = "body{font-family:sans-serif;margin:1.5em;max-width:70em}td,th{text-align:left}"


@dataclass(frozen=True, slots=True)
class AgainstNative:
    """The gradients of an equation against native einsum's.

    Attributes:
        errors: of each gradient, relative to its largest element; None where native has none.
        tolerances: what rounding allows for each.
    """

    errors: tuple[float, ...] | None
    tolerances: tuple[float, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all agree, which a nan does not; also where there is nothing to compare."""
        pairs = zip(self.errors or (), self.tolerances, strict=True)
        return all(error <= tolerance for error, tolerance in pairs)

    def __str__(self) -> str:
        if self.errors is None:
            return "Native einsum does not take this equation, or cannot differentiate it."
        worst = math.nan if any(map(math.isnan, self.errors)) else max(self.errors, default=0.0)
        verdict = "" if self.passed else "FAIL: "
        return (
            f"{verdict}Against native einsum's gradients: {worst:.1e} of their largest element at "
            "most."
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check that was made, with what it was asked, and where it ran."""

    report: GradientReport
    arguments: Mapping[str, Any]
    environment: Environment
    native: AgainstNative | None = None

    @classmethod
    def of(
        cls,
        report: GradientReport,
        arguments: argparse.Namespace,
        native: AgainstNative | None = None,
    ) -> Outcome:
        """The outcome on this machine."""
        given = {name: _plain(x) for name, x in vars(arguments).items() if not callable(x)}
        return cls(report, given, describe_environment(), native)

    @property
    def passed(self) -> bool:
        """Whether everything is right."""
        return self.report.passed and (self.native is None or self.native.passed)

    def show(self, console: Console) -> None:
        """Prints it."""
        console.print(self.report)
        if self.native:
            console.print(str(self.native), style=None if self.native.passed else "red")

    def to_json(self) -> str:
        """Returns it as JSON: the report's, `passed` for all of it, and what else there is."""
        native = None
        if self.native:
            errors = [e if math.isfinite(e) else None for e in self.native.errors or ()]
            native = {
                "compared": self.native.errors is not None,
                "errors": errors,
                "tolerances": self.native.tolerances,
                "passed": self.native.passed,
            }
        more = {
            "passed": self.passed,
            "native": native,
            "arguments": self.arguments,
            "environment": dataclasses.asdict(self.environment),
        }
        return json.dumps({**json.loads(self.report.to_json()), **more}, indent=1) + "\n"

    def to_html(self) -> str:
        """Returns it as a page."""
        title = f"{'PASS' if self.passed else 'FAIL'}: gradients of {self.report.name}"
        e = self.environment
        facts = [(name.replace("_", "-"), str(x)) for name, x in self.arguments.items()]
        facts += [("machine", f"{e.machine}, {e.device}, {e.threads} threads"), ("date", e.date)]
        facts += e.versions
        body = [
            element("h1", title),
            Html(self.report.to_html()),
            *([element("p", str(self.native))] if self.native else []),
            element("h2", "What was asked, and where"),
            html_table(("", ""), facts),
        ]
        head = element(
            "head",
            Html("<meta charset='utf-8'>"),
            Html("<meta name='viewport' content='width=device-width, initial-scale=1'>"),
            element("title", title),
            element("style", Html(_STYLE)),
        )
        return f"<!doctype html>{element('html', head, element('body', *body), lang='en')}\n"


def _plain(value: Any) -> Any:
    """An argument as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return value
