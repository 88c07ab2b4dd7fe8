"""What the documentation takes from outside of docs/: notebooks, and what the repository says of itself.

Formulas of the notebooks become MathML, which browsers show without a script from elsewhere.
"""

import json
import re
import tempfile
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}

_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\w`])\$([^$`\n]+?)\$(?!\w)", re.DOTALL)


def mathml(text: str) -> str:
    """Markdown with its formulas, `$...$` and `$$...$$`, as MathML."""

    def formula(match: re.Match[str]) -> str:
        display = "block" if match[1] else "inline"
        return convert((match[1] or match[2]).strip(), display=display)

    return _FORMULA.sub(formula, text)


def _write_notebook(path: Path, folder: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = mathml("".join(cell["source"]))
    (folder / path.name).write_text(json.dumps(notebook), "utf-8")


@event_priority(100)  # before the plugin that renders notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files."""
    folder = Path(tempfile.mkdtemp(prefix="tf_einsum_grad-docs-"))
    (folder / "notebooks").mkdir()
    for name, source in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        _write_notebook(path, folder / "notebooks")
        name = f"notebooks/{path.name}"
        files.append(File(name, str(folder), config.site_dir, config.use_directory_urls))
    return files
