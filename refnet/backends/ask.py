"""Ask a child process one thing: it runs a module on a job and answers with one line of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from ..errors import VariantError
from .child import MISSING, STAGE
from .probe import ANSWER
from .process import watch
from .result import reason_of_status
from .variant import Variant

Tell = Callable[[str, float], None]
"""Called as tell(stage, seconds since the child began)."""


def check_runnable(variant: Variant) -> None:
    """Raises VariantError, which says what to install, for a variant that cannot run here."""
    if variant.missing:
        raise VariantError(variant.missing, status="missing")


def ask(
    module: str,
    job: Mapping[str, Any],
    *,
    timeout: float,
    tell: Tell,
    overheard: Callable[[str], None] = lambda line: None,
    stop: Event | None = None,
) -> dict[str, Any]:
    """The answer of `python -m module job.json`, a fresh process that gets a folder of its own as job["home"].

    timeout: seconds.  overheard: gets each line of standard output that is neither a stage nor the answer.  stop: ends
    the process where another thread sets it.
    Raises VariantError with the status and the reason where there is no answer.
    """
    answers: list[str] = []
    absent: list[str] = []
    begin, last = time.monotonic(), "start"

    def on_line(line: str) -> None:
        nonlocal last
        if line.startswith(STAGE):
            last = line.removeprefix(STAGE).strip()
            tell(last, time.monotonic() - begin)
        elif line.startswith(MISSING):
            absent.append(line.removeprefix(MISSING).strip())
        elif line.startswith(ANSWER):
            answers.append(line.removeprefix(ANSWER))
        else:
            overheard(line)

    with TemporaryDirectory(prefix="refnet-") as temporary:
        folder = Path(temporary)
        path, log = folder / "job.json", folder / "log"
        path.write_text(json.dumps({**job, "home": temporary}), encoding="utf-8")
        command = [sys.executable, "-P", "-m", module, str(path)]
        status = watch(
            command, log, timeout=timeout, on_line=on_line, stop=stop, environment=job.get("environment", {})
        )
        if status is None:
            raise VariantError(f"no answer within {timeout:g} s; the last stage was {last}", status="timeout")
        if status != 0:
            raise VariantError(reason_of_status(status, log), status="killed" if status < 0 else "failed")
    if absent:
        raise VariantError(absent[-1], status="missing")
    try:
        return dict(json.loads(answers[-1]))
    except (IndexError, ValueError, TypeError) as error:
        raise VariantError("ended without an answer that can be read") from error
