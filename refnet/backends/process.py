"""One child process, watched: its lines, its time limit, and that nothing of it is left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from types import MappingProxyType

LONGEST_LINE = 1 << 16  # bytes; of a line without end the last ones are kept
POLL = 0.25  # seconds until a child that ended, or was to be stopped, is noticed at the latest


class StoppedError(Exception):
    """`stop` was set."""


def watch(
    command: Sequence[str],
    log: Path,
    *,
    timeout: float,
    on_line: Callable[[str], None],
    stop: Event | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> int | None:
    """Run `command` to its end and return its exit status (negative: the signal it died from), None after `timeout` s.

    environment: what it gets besides, and instead of, this process's own.
    stderr goes to the file `log`, stdout line by line to `on_line`. The child leads a process group of its own, which
    is killed when the time is over or when an exception (KeyboardInterrupt too) leaves this call. Setting `stop`, from
    another thread, raises StoppedError here.
    """
    with open(log, "wb") as sink:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        try:
            end = time.monotonic() + timeout
            _read_lines(child, end, on_line, stop or Event())
            return _ended(child, end, stop or Event())
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill_group(child)


def _read_lines(child: subprocess.Popen[bytes], end: float, on_line: Callable[[str], None], stop: Event) -> None:
    """Hand on stdout until it closes or the child ends; TimeoutExpired when the monotonic clock comes to `end`."""
    assert child.stdout is not None
    pipe, rest = child.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if stop.is_set():
                raise StoppedError
            if not selector.select(min(left, POLL)):
                if _has_ended(child):  # a grandchild keeps the pipe open
                    return
                continue
            data = os.read(pipe, 1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-LONGEST_LINE:]
            for line in lines:
                on_line(line.decode("utf-8", "replace"))
    raise subprocess.TimeoutExpired(child.args, end)


def _ended(child: subprocess.Popen[bytes], end: float, stop: Event) -> int:
    """The exit status, once the child has ended; what it started is killed before its number can be another's."""
    while not _has_ended(child):
        if stop.is_set():
            raise StoppedError
        if time.monotonic() >= end:
            raise subprocess.TimeoutExpired(child.args, end)
        time.sleep(min(POLL, max(0.0, end - time.monotonic())) / 10)
    if child.returncode is None:
        _signal_group(child)
    return child.wait()


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether it ended; where the system can tell, it is left to be waited for, so that its number stays its own."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return child.poll() is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says so by EPERM
        os.killpg(child.pid, signal.SIGKILL)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and all that it started. Once it was waited for, its number may be another's: then leave it."""
    if child.returncode is None:
        _signal_group(child)
        child.wait()
    if child.stdout is not None:
        child.stdout.close()
