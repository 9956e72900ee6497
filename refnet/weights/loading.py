"""load_weights: two names, or a file; and what the cache keeps of weights."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from ..cache import cache_folder, cached
from ..errors import InputError
from ..graph import resnet
from .containers import check_target, read_here, read_weights, save_weights
from .imagenet import imagenet
from .safetensors_file import recorded_hash
from .weights import Weights

# What the synthetic tensors depend on: kept ones are made again when one of these files changes.
SYNTHETIC_SOURCES = (
    "weights/synthetic.py",
    "weights/fixed_point.py",
    "weights/counter.py",
    "weights/scenes.py",
    "graph/node.py",
    "graph/resnet.py",
)
NAMED = ("synthetic", "imagenet")  # what load_weights takes besides files
EXCHANGE_LAYOUT = 2  # to be raised when write_legacy changes what it writes


def load_weights(
    source: str | Path,
    *,
    depth: int | None = None,
    include_top: bool | None = None,
    variant: str | None = None,
    seed: int = 0,
    cache: Path | None = None,
    keras_home: Path | None = None,
) -> Weights:
    """Weights by name, `synthetic` or `imagenet`, or from a file (the kinds are in CONTAINERS); nothing is cast.

    depth (default 50) and include_top (default True) choose among the named ones, and a file is held against them if
    they are given. variant: "v1" or "v1.5", for a file that does not say it; named ones are v1. The synthetic ones of
    each `seed` are made once and kept in `cache` (default: cache_folder()), if that can be written.
    ImageNet's are looked for in `keras_home` (default: Keras's own) and downloaded by Keras if they are not there.
    Raises InputError: no such file, a damaged one, one of another model (see Weights).
    """
    chosen, top = 50 if depth is None else depth, include_top is not False
    if str(source) == "synthetic":
        weights = _synthetic(chosen, top, seed=seed, cache=cache)
    elif str(source) == "imagenet":
        weights = imagenet(depth=chosen, include_top=top, home=keras_home)
    else:
        weights = read_weights(source, variant=variant)
    asked = {"depth": depth, "include_top": include_top, "variant": variant}
    if any(value not in (None, getattr(weights, name)) for name, value in asked.items()):
        wanted = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        raise InputError(f"{weights!r}", expected=wanted)
    return weights


def exchange_file(weights: Weights, cache: Path | None = None, *, otherwise: Path | None = None) -> Path:
    """The weights as a legacy `.h5`, which every Keras loads: `cache/exchange/HASH-LAYOUT.h5`, made once.

    A cache that cannot be written is no error where a folder `otherwise` is given: the file is then made there.
    """

    def read(path: Path) -> Path | None:
        kept = _read_or_none(path)
        return path if kept is not None and kept.hash == weights.hash else None

    folder = (cache or cache_folder()) / "exchange"
    name = f"{weights.hash}-{EXCHANGE_LAYOUT}.h5"
    return cached(folder, name, read=read, make=partial(save_weights, weights), otherwise=otherwise)


def convert(
    source: str | Path, target: str | Path, *, variant: str | None = None, cache: Path | None = None
) -> Weights:
    """Loads `source` (as load_weights does), saves it as `target` (the suffix says how), and gives what was saved."""
    check_target(Path(target))
    weights = load_weights(source, variant=variant, cache=cache)
    save_weights(weights, target)
    return weights


def _synthetic(depth: int, include_top: bool, seed: int, cache: Path | None) -> Weights:
    source = f"synthetic, seed {seed}"

    def make(path: Path) -> None:
        from .synthetic import synthetic_weights  # only needed when nothing is kept

        tensors = synthetic_weights(resnet(depth, include_top=include_top), seed=seed)
        save_weights(Weights(tensors, source=source), path)

    def read(path: Path) -> Weights | None:
        kept = _read_or_none(path, source)
        return kept if kept is not None and kept.hash == recorded_hash(path) else None

    top = "" if include_top else "-notop"
    name = f"resnet{depth}{top}-{seed}-{_sources_hash()}.safetensors"
    with TemporaryDirectory(prefix="refnet-") as folder:
        kept = (cache or cache_folder()) / "synthetic"
        return cached(kept, name, read=read, make=make, otherwise=Path(folder))


def _sources_hash() -> str:
    package = resources.files("refnet")
    digest = sha256()
    for name in SYNTHETIC_SOURCES:
        digest.update(package.joinpath(name).read_bytes())
    return digest.hexdigest()[:16]


def _read_or_none(path: Path, source: str | None = None) -> Weights | None:
    """What refnet itself wrote, so that no other process needs to try it first."""
    try:
        return read_here(path, source=source)
    except InputError:
        return None
