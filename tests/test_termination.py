"""A command that is told to end leaves no child process behind, and its caller's signals as they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from refnet.backends.process import StoppedError, watch
from refnet.cli.termination import ENDING, interrupted_when_told_to_end

HANGING = """
import sys
from pathlib import Path
import refnet.cli
from refnet.backends.process import watch

program = sys.modules["refnet.cli.main"]
child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]

@program.app.command()
def hang() -> None:
    watch(child, Path(sys.argv[1]), timeout=60, on_line=lambda line: print(line, flush=True))

sys.exit(program.main(["hang"]))
"""


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [*ENDING, signal.SIGINT])
def test_a_command_that_is_told_to_end_takes_its_child_with_it(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGING, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        program.send_signal(number)
        assert program.wait(30) == 130
    deadline = time.monotonic() + 10
    while is_there(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(child)


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN], ids=["default", "ignored"])
def test_signals_are_left_as_they_were_and_ignored_ones_stay_ignored(before: signal.Handlers) -> None:
    own = signal.signal(signal.SIGHUP, before)
    try:
        with interrupted_when_told_to_end():
            within = signal.getsignal(signal.SIGHUP)
        assert within is (signal.default_int_handler if before is signal.SIG_DFL else signal.SIG_IGN)
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, own)


def test_another_thread_changes_nothing() -> None:
    seen = []

    def look() -> None:
        with interrupted_when_told_to_end():
            seen.extend(map(signal.getsignal, ENDING))

    before = [signal.getsignal(number) for number in ENDING]
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == before


def test_a_child_that_closed_its_output_is_stopped_too(tmp_path: Path) -> None:
    stop, begin = threading.Event(), time.monotonic()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(StoppedError):
        watch(["sh", "-c", "exec >&-; sleep 60"], tmp_path / "log", timeout=60, on_line=print, stop=stop)
    assert time.monotonic() - begin < 20
    with_time = ["sh", "-c", "exec >&-; sleep 60"]
    assert watch(with_time, tmp_path / "log", timeout=0.5, on_line=print) is None


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="macOS before Python 3.13 tells of a child's end too late")
@pytest.mark.parametrize("end", ["exit 0", "exit 3", "kill -SEGV $$"])
def test_what_a_child_started_ends_with_it(end: str, tmp_path: Path) -> None:
    lines: list[str] = []
    watch(["sh", "-c", f"sleep 60 & echo $!; {end}"], tmp_path / "log", timeout=30, on_line=lines.append)
    deadline = time.monotonic() + 10
    while is_there(int(lines[0])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(int(lines[0]))
