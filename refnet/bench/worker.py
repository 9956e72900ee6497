"""The parent's side of a worker: a child process that stays alive and computes only when it is asked to."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..backends.result import reason_of_status
from ..errors import VariantError
from .child import ANSWER

START_TIMEOUT = 300.0  # seconds: import, build, load
ANSWER_TIMEOUT = 120.0


class Worker:
    """`with Worker(job, folder) as worker: worker.ask(batch=1, seed=7)`; the process ends with the block.

    job: JSON for bench/child.py.  folder: gets the job's file and the log.  Raises VariantError when the child fails,
    dies or is silent for too long.
    """

    def __init__(self, job: Mapping[str, Any], folder: Path, *, timeout: float = ANSWER_TIMEOUT) -> None:
        self._log, self._timeout, self._rest = folder / "log", timeout, b""
        path = folder / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}.child", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,  # nothing is left to be written to a child that is gone
                env={**os.environ, **job["environment"], "KERAS_HOME": str(folder)},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self._answer(START_TIMEOUT)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """The child's answer to one request."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._died() from None
        return self._answer(self._timeout)

    def close(self) -> None:
        """Kill the child and all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _answer(self, timeout: float) -> dict[str, Any]:
        """The next line that is an answer; all others are the framework's own talk."""
        end = time.monotonic() + timeout
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if not newline:
                self._rest += self._read(end, timeout)
                continue
            self._rest = rest
            if line.startswith(ANSWER.encode()):
                answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER.encode()))
                return answer

    def _read(self, end: float, timeout: float) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, end - time.monotonic())):
                raise VariantError(f"no answer within {timeout:g} s")
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        if not data:
            raise self._died()
        return data

    def _died(self) -> VariantError:
        return VariantError(reason_of_status(self._process.wait(self._timeout), self._log))
