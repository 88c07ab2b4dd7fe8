"""Builds the sdist, and the wheel from it, so that the same commit gives the same bytes."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def epoch() -> str:
    """When the commit was made: the time that everything in the archives has."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return (
        given or subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    )


def repack(sdist: Path, seconds: int) -> None:
    """Rewrites an sdist sorted, without the times and the names of who built it."""
    file = io.BytesIO()
    with (
        tarfile.open(sdist) as old,
        gzip.GzipFile("", "wb", fileobj=file, mtime=seconds) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    sdist.write_bytes(file.getvalue())


def build(folder: Path) -> None:
    """Builds what is committed: `folder` then holds one sdist and one wheel."""
    os.environ["SOURCE_DATE_EPOCH"] = epoch()
    with tempfile.TemporaryDirectory() as checkout:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(checkout, filter="data")
        command = [sys.executable, "-m", "build", "--outdir", str(folder)]
        subprocess.run([*command, "--sdist", checkout], check=True)
        (sdist,) = folder.glob("*.tar.gz")
        repack(sdist, int(os.environ["SOURCE_DATE_EPOCH"]))
        with tarfile.open(sdist) as files:
            files.extractall(checkout, filter="data")
        source = Path(checkout) / sdist.name.removesuffix(".tar.gz")
        subprocess.run([*command, "--wheel", str(source)], check=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
