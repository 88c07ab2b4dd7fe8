"""HTML: elements and tables that escape what they are given."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

__all__ = ["Html", "element", "html_table"]


class Html(str):
    """Text that is HTML already: it is put into a page as it is, any other text is escaped."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str | None) -> Html:
    """An HTML element.

    Args:
        tag: its name.
        content: what stands in it, one after the other.
        attributes: by name, `class_` for `class`; those that are None are left out.

    Example:
        >>> element("td", "a<b ", Html("<i>c</i>"), class_="mean", style=None)
        "<td class='mean'>a&lt;b <i>c</i></td>"
    """
    named = "".join(
        f" {name.rstrip('_')}='{html.escape(value)}'"
        for name, value in attributes.items()
        if value is not None
    )
    inside = "".join(part if isinstance(part, Html) else html.escape(part) for part in content)
    return Html(f"<{tag}{named}>{inside}</{tag}>")


def html_table(
    head: Sequence[str],
    rows: Iterable[Html | Sequence[str]],
    *,
    sections: bool = False,
    **attributes: str | None,
) -> Html:
    """A table.

    Args:
        head: the columns' names.
        rows: the cells of each, or a `<tr>` element.
        sections: whether the head and the body are marked as such.
        attributes: of the table, as `element` takes them.

    Example:
        >>> html_table(("x", "y"), [("1", Html("<b>2</b>"))])
        '<table><tr><th>x</th><th>y</th></tr><tr><td>1</td><td><b>2</b></td></tr></table>'
    """
    top = _row("th", head)
    body = [row if isinstance(row, Html) else _row("td", row) for row in rows]
    if sections:
        return element("table", element("thead", top), element("tbody", *body), **attributes)
    return element("table", top, *body, **attributes)


def _row(tag: str, cells: Iterable[str]) -> Html:
    return element("tr", *(element(tag, cell) for cell in cells))
