"""Being told to end is answered as Ctrl-C is: nothing is left half written, no child process goes on alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGHUP)  # from `kill`, a job scheduler or `timeout`; from a terminal that closes


@contextmanager
def interrupted_when_told_to_end() -> Iterator[None]:
    """Within the block a signal of ENDING raises KeyboardInterrupt, unless it is ignored (nohup) or handled already.

    Python gives signals to the main thread alone: in any other nothing changes.
    """
    taken = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        taken = []
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
