"""A backend's layers, asked in a child process that lives as long as the questions last."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any, Self

import numpy as np

from ..backends import Variant
from ..backends import child as backend_child
from ..backends.ask import check_runnable
from ..backends.child import MISSING
from ..backends.job import make_job
from ..backends.result import reason_of_status
from ..errors import VariantError
from ..graph import Graph

CHILD = Path(__file__).with_name("child.py")
TIMEOUT = 300.0  # seconds for one answer; the first waits for the framework
PRECISIONS = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
"""Keras's dtype policies whose layers can be asked, and refnet's precision of what their layers return."""


class Session:
    """`with Session(variant, graph) as layers`: one layer at a time is taken up, given inputs, and run with weights.

    threads: as everywhere; None leaves the framework's own choice. Raises VariantError with a reason where the backend
    is not installed, has a dtype policy that PRECISIONS does not know, fails, dies or does not answer in time. Numbers
    travel in float32, which holds those of every such policy; what is given is rounded to the type that a layer reads.
    """

    def __init__(
        self,
        variant: Variant,
        graph: Graph,
        *,
        threads: int | None = None,
        timeout: float = TIMEOUT,
        child: Path = CHILD,
    ) -> None:
        check_runnable(variant)
        if variant.dtype_policy not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise VariantError(f"computes in {variant.dtype_policy}; only layers of {known} can be probed in place")
        self.variant, self.graph, self.timeout = variant, graph, timeout
        nowhere = Path()
        self._job = {
            **make_job(variant, graph, weights=nowhere, images=nowhere, output=nowhere, threads=threads),
            "backend_child": str(Path(backend_child.__file__)),
        }
        self._script = child
        self._shapes: list[list[int]] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="refnet-reveal-")
        folder = Path(self._folder.name)
        (folder / "job.json").write_text(json.dumps(self._job), encoding="utf-8")
        self._log = folder / "child.log"
        self._late = False
        with open(self._log, "wb") as sink:
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(self._script), str(folder / "job.json")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env={**os.environ, **self._job["environment"], "KERAS_HOME": str(folder)},
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what a dead child was still to be told
                    pipe.close()
        self._folder.cleanup()

    @property
    def precision(self) -> str:
        """Refnet's, of what the layers return."""
        return PRECISIONS[self.variant.dtype_policy]

    @property
    def whole_graphs(self) -> bool:
        """Whether the backend decides for a whole graph how its tensors lie, so that a layer alone tells little."""
        return self.variant.backend == "openvino"

    def take(self, layer: str, *, behind: bool = False, activation: str | None = None) -> tuple[int, ...]:
        """Take up a layer, alone or behind a convolution and an addition; the shape of its input, without the batch.

        activation: a name of Keras's, instead of the layer's own.
        """
        answer, _ = self._ask("layer", (), name=layer, behind=behind, activation=activation)
        return tuple(answer["input"])

    def take_together(self, layers: Sequence[str], entries: Sequence[str]) -> None:
        """Take up layers that read each other, in their order; the last one's output is returned.

        entries: the layers outside from which they read; `give` then gives their outputs, `run` takes the weights of
        `layers`, one layer's after another's.
        """
        self._ask("together", (), names=list(layers), entries=list(entries))

    def take_whole(self, layers: Sequence[str]) -> None:
        """Take up the network, as predict runs it; `run` takes the weights of `layers`, its layers in their order."""
        self._ask("whole", (), names=list(layers))

    def give(self, *inputs: np.ndarray) -> None:
        """The model's inputs from now on, batch first: a layer's, or the outputs of the entries."""
        self._ask("inputs", inputs)

    def run(self, *weights: np.ndarray, position: Sequence[int] | None = None, batch: int | None = None) -> np.ndarray:
        """The output, or what lies at one position of its leading axes. Without weights, those of the last run.

        batch: how many of the inputs go into the model at once, instead of all.
        """
        _, arrays = self._ask("run", weights, position=None if position is None else list(position), batch=batch)
        return arrays[0]

    def describe(self) -> Mapping[str, Any]:
        """Versions, settings and devices, after the layer has run."""
        answer, _ = self._ask("describe", ())
        return dict(answer)

    def _ask(self, ask: str, arrays: Sequence[np.ndarray], **settings: Any) -> tuple[Any, list[np.ndarray]]:
        header = {"ask": ask, "settings": settings, "arrays": [[a.dtype.str, list(a.shape)] for a in arrays]}
        watch = Timer(self.timeout, self._give_up)
        watch.daemon = True
        watch.start()
        try:
            return self._exchange(json.dumps(header).encode() + b"\n", arrays)
        except (BrokenPipeError, EOFError) as error:
            raise self._failure() from error
        finally:
            watch.cancel()

    def _exchange(self, header: bytes, arrays: Sequence[np.ndarray]) -> tuple[Any, list[np.ndarray]]:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(header)
        for array in arrays:
            self._child.stdin.write(np.ascontiguousarray(array).tobytes())
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer = json.loads(line)
        return answer["answer"], [self._array(kind, shape) for kind, shape in answer["arrays"]]

    def _array(self, kind: str, shape: list[int]) -> np.ndarray:
        assert self._child.stdout is not None
        size = np.dtype(kind).itemsize * math.prod(shape)
        data = self._child.stdout.read(size)
        if len(data) < size:
            raise EOFError
        return np.frombuffer(data, kind).reshape(shape)

    def _give_up(self) -> None:
        self._late = True
        self._kill()

    def _kill(self) -> None:
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)

    def _failure(self) -> VariantError:
        status = self._child.wait()
        if self._late:
            return VariantError(f"gave no answer within {self.timeout:g} s", status="timeout")
        reason = reason_of_status(status, self._log)
        if reason.startswith(MISSING):
            return VariantError(reason.removeprefix(MISSING), status="missing")
        return VariantError(reason, status="killed" if status < 0 else "failed")
