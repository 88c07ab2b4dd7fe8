"""Files that are written whole or not at all, and whether one could be, asked beforehand."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = ["check_readable", "check_writable", "write_whole", "written"]


def check_readable(path: Path) -> None:
    """Checks that there is a file that can be read.

    Raises:
        OSError: there is none; its `strerror` says why.
    """
    if path.is_dir():
        raise IsADirectoryError(0, "it is a directory", str(path))
    if not path.exists():
        raise FileNotFoundError(0, "there is no such file", str(path))
    if not os.access(path, os.R_OK):
        raise PermissionError(0, "it may not be read", str(path))


def check_writable(path: Path) -> None:
    """Checks that a file can be written, or replaced.

    Raises:
        OSError: it cannot; its `strerror` says why.
    """
    target = Path(os.path.realpath(path))
    folder = target.parent
    if target.is_dir():
        raise IsADirectoryError(0, "it is a directory", str(path))
    if not folder.is_dir():
        raise FileNotFoundError(0, f"there is no directory {str(folder)!r}", str(path))
    place = target if _is_special(target) else folder
    if not os.access(place, os.W_OK):
        raise PermissionError(0, f"{str(place)!r} may not be written to", str(path))


def _is_special(path: Path) -> bool:
    """Whether it is a terminal, a pipe or the like: there, but no file to be replaced."""
    return path.exists() and not path.is_file()


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Writes a file beside the place where it belongs, then puts it there: no one sees half of it.

    Args:
        path: what stands there is replaced, but for its permissions; a link is followed.
        content: text is written as UTF-8.

    Raises:
        OSError: it cannot be written; what stood there still does.
    """
    target = Path(os.path.realpath(path))
    data = content.encode("utf-8") if isinstance(content, str) else content
    if _is_special(target):
        target.write_bytes(data)
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(target))
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def written(text: str, path: str | Path | None) -> str:
    """Returns a text, and writes it to a file if one is given.

    Raises:
        OSError: as `write_whole` does.
    """
    if path is not None:
        write_whole(path, text)
    return text


def _mode(path: Path) -> int:
    """The permissions of a file, or of one that is yet to be made."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)  # reading it takes setting it
    os.umask(mask)
    return 0o666 & ~mask
