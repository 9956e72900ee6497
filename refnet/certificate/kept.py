"""Certificates in the user's cache folder, one for each picture: proven once, believed only while they are whole."""

from __future__ import annotations

from functools import cache as once
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .. import __version__
from ..cache import cache_folder, cached
from ..errors import InputError
from ..graph import Graph
from ..kernels.code_cache import sources_hash
from ..provenance import sha256_of_array
from ..weights import Weights
from .certificate import Certificate
from .proof import Progress, certify

KEPT_FILES = 2  # about 740 MB each for pictures of 224 x 224
PROVERS = (Path(__file__).parent, Path(__file__).parents[1] / "forward")  # beside what sources_hash looks at


def kept_certificate(
    picture: np.ndarray,
    weights: Weights,
    bits: int = 53,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Certificate:
    """certify(picture, weights, bits) for a picture (1, height, width, 3), from the cache folder if it is there.

    Its name there is a hash of weights, picture, graph, bits and all that computed it. A file that is spoiled or of
    something else is made again. cache: another folder than the user's.
    """
    graph = weights.graph(picture.shape[1:3])
    key = _key(picture, weights, graph, bits)
    folder = (cache or cache_folder()) / "certificates"

    def make(path: Path) -> None:
        certify(picture, weights, bits, threads=threads, progress=progress).save(path)

    with TemporaryDirectory(prefix="refnet-") as elsewhere:
        read = partial(_read, key=key)
        return cached(folder, _name(key, graph), read=read, make=make, otherwise=Path(elsewhere), keep=KEPT_FILES)


def _key(picture: np.ndarray, weights: Weights, graph: Graph, bits: int) -> dict[str, object]:
    """What a certificate must say of itself to be the one that is wanted."""
    about = {"name": graph.name, "variant": graph.variant, "output": graph.output.name}
    return {"weights": weights.hash, "picture": sha256_of_array(picture), "graph": about, "bits": bits}


def _name(key: dict[str, object], graph: Graph) -> str:
    nodes = [(node.name, node.operation, node.inputs, node.shape, dict(node.settings)) for node in graph.nodes]
    return sha256(f"{__version__} {_provers_hash()} {key} {nodes}".encode()).hexdigest()[:32] + ".npz"


@once
def _provers_hash() -> str:
    """A hash of the sources of the proof: one that was mended is proven anew."""
    digest = sha256(sources_hash().encode())
    for folder in PROVERS:
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _read(path: Path, key: dict[str, object]) -> Certificate | None:
    """The certificate in a file, None if there is none or it is of something else."""
    try:
        found = Certificate.load(path)
    except InputError:
        return None
    about = {name: found.provenance.get(name) for name in ("weights", "picture", "graph")}
    return found if {**about, "bits": found.bits} == key else None
