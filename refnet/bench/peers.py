"""Those whose speed refnet is held against, each in a worker of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..backends import VARIANTS
from ..backends.job import THREAD_VARIABLES, make_job
from ..errors import InputError, VariantError
from ..weights import Weights, exchange_file
from .worker import Worker


@dataclass(frozen=True)
class Peer:
    """name: as the user types it.  kind: of its rows, and the worker that runs it.  variant: a name in VARIANTS."""

    name: str
    kind: str
    variant: str


PEERS = {
    peer.name: peer
    for peer in (
        *(
            Peer(name, "keras", name)  # openvino as it comes may compute in bfloat16
            for name in ("tensorflow", "tf-keras", "jax", "torch", "openvino-f32", "numpy")
        ),
        Peer("openvino-compiled", "compiled", "openvino-f32"),
    )
}
"""Name -> peer; all compute in float32."""

SGEMM = "sgemm"


def select_peers(names: Sequence[str]) -> tuple[Peer, ...]:
    """The peers of these names; `all` stands for all of them, `none` for none. Raises InputError for another name."""
    if list(names) == ["none"]:
        return ()
    unknown = [name for name in names if name not in (*PEERS, "all")]
    if unknown or not names:
        raise InputError(
            f"peers {', '.join(unknown) or '(none named)'}", expected=f"some of {', '.join(PEERS)}, all, none"
        )
    return tuple(PEERS.values()) if "all" in names else tuple(PEERS[name] for name in dict.fromkeys(names))


@contextmanager
def peer_worker(peer: Peer, weights: Weights, base: np.ndarray, threads: int, cache: Path | None) -> Iterator[Worker]:
    """The peer, ready to answer. base: (1, height, width, 3), the scene of its pictures.

    Raises VariantError if it is not installed or does not start.
    """
    variant = VARIANTS[peer.variant]
    if variant.missing_modules:
        absent = ", ".join(variant.missing_modules)
        raise VariantError(f'{absent} is not installed; pip install "refnet[{variant.extra}]"')
    with TemporaryDirectory(prefix="refnet-") as temporary:
        folder = Path(temporary)
        images = folder / "base.npy"
        np.save(images, base)
        exchange = exchange_file(weights, cache, otherwise=folder)
        graph = weights.graph(base.shape[1:3])
        job = make_job(variant, graph, weights=exchange, images=images, output=folder, threads=threads)
        with Worker({**job, "worker": peer.kind}, folder) as worker:
            yield worker


@contextmanager
def sgemm_worker(threads: int) -> Iterator[Worker]:
    """NumPy's matrix product on so many threads; libraries read their number when they are loaded."""
    with TemporaryDirectory(prefix="refnet-") as folder:
        job = {"worker": SGEMM, "environment": dict.fromkeys(THREAD_VARIABLES, str(threads))}
        with Worker(job, Path(folder)) as worker:
            yield worker
