"""Child processes that answer one line of JSON with another."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Worker", "WorkerError"]


class WorkerError(RuntimeError):
    """A child process ended, gave no answer, or said that it could not do what it was asked."""


class Worker:
    """A child process; a context manager, which ends it and what it started.

    Args:
        command: what to run.
        env: its environment.
        timeout: seconds to wait for an answer.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], timeout: float = 600.0
    ) -> None:
        self._timeout = timeout
        self._process = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a request and waits for the answer.

        Raises:
            WorkerError: see there.
        """
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except (BrokenPipeError, ValueError) as error:
            raise WorkerError(f"the process ended with status {self._process.wait()}") from error
        return self.read()

    def read(self) -> dict[str, Any]:
        """Waits for an answer.

        Raises:
            WorkerError: see there.
        """
        stdout = self._process.stdout
        if stdout is None or not select.select([stdout], [], [], self._timeout)[0]:
            self._kill()
            raise WorkerError(f"the process gave no answer within {self._timeout:.0f} s")
        line = stdout.readline()
        if not line:
            raise WorkerError(f"the process ended with status {self._process.wait()}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError as error:
            self._kill()
            raise WorkerError(f"the process answered {line[:80]!r}, which is no JSON") from error
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
