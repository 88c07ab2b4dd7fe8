"""Docstrings as the reference's parser knows them: it calls a section of examples `Examples:`."""

import re
from typing import Any

import griffe


class OneExample(griffe.Extension):
    """Reads `Example:`, as our docstrings have it, as the same section."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
