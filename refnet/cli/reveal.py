"""`refnet reveal`: in which order a backend adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, VariantError
from .exits import NOT_RUN, OK
from .options import BackendThreads, PictureSize, Quiet, VariantsFile, WeightsSource, names_in, some_from
from .probe_bar import ProbeBar
from .screen import complain, output

PROBED = {"order", "batch_norm", "reason", "plain"}  # one of these is in the entry of a layer that was asked

if TYPE_CHECKING:
    from rich.console import Console

    from ..arithmetic import Order
    from ..backends import Variant
    from ..reveal import Profile


def reveal(
    variants: Annotated[str, typer.Option(metavar="NAMES", help="Variants, as in refnet drift: torch,jax.")],
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="A convolution, the dense layer, or the mean pool.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Probe the whole network.")] = False,
    profile: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="With --all: where the profile is written."),
    ] = None,
    softmax: Annotated[bool, typer.Option("--softmax", help="The form of the softmax behind the last layer.")] = False,
    compare_threads: Annotated[
        int | None,
        typer.Option(
            "--compare-threads", min=1, metavar="N", help="With --layer: whether N threads add in that order."
        ),
    ] = None,
    tree: Annotated[bool, typer.Option("--tree", help="With --layer: draw the tree of additions too.")] = False,
    weights: WeightsSource = "synthetic",
    variants_file: VariantsFile = None,
    size: PictureSize = 224,
    threads: BackendThreads = None,
    quiet: Quiet = False,
) -> int:
    """Find out in which order a backend adds, by probes alone, and in which forms it evaluates the rest.

    With --layer: the order of one layer in one line, and how many of its outputs refnet then gives with other bits,
    for drawn numbers. With --softmax: whether the maximum is subtracted, how the sum divides, how good the backend's
    exp is, and the order of the sum. With --all: a profile of the whole network, from which refnet replay makes the
    backend's bits again; --weights are those whose constants are read off. It is kept in the cache, where refnet
    drift, compare and replay find it, and written with --output. Exits with 3 if a variant that was named could not
    run, or one that is installed failed.
    """
    from ..backends import GROUPS

    chosen = some_from(names_in(variants), variants_file)
    if (layer is not None) + softmax + all_ != 1:
        raise InputError("refnet reveal", expected="one of --layer NAME, --softmax and --all")
    for option, given in (("--compare-threads", compare_threads is not None), ("--tree", tree)):
        if given and layer is None:
            raise InputError(option, expected="--layer")
    if profile is not None and (not all_ or len(chosen) != 1):
        raise InputError("--output", expected="--all and one variant")
    harmless = {"missing"} if set(names_in(variants)) & set(GROUPS) else set()
    ran, failed = False, False
    for variant in chosen:
        try:
            if layer is not None:
                _one_layer(variant, layer, tree=tree, size=size, threads=threads, other=compare_threads, quiet=quiet)
            elif softmax:
                _softmax(variant, size=size, threads=threads, quiet=quiet)
            else:
                _network(variant, weights, size, threads, profile, quiet=quiet)
        except VariantError as error:
            complain(f"{variant.name}: {error}")
            failed = failed or error.status not in harmless
        else:
            ran = True
    return OK if ran and not failed else NOT_RUN


def _one_layer(
    variant: Variant, layer: str, *, tree: bool, size: int, threads: int | None, other: int | None, quiet: bool
) -> None:
    from ..reveal import reveal_layer

    found = reveal_layer(variant, layer=layer, size=size, threads=threads)
    compared = None if other is None else reveal_layer(variant, layer=layer, size=size, threads=other)
    if quiet:
        return
    console = output()
    console.print(f"{variant.name} {found}", soft_wrap=True, markup=False)
    if compared is not None:
        on = f"on {other} thread{'s' if other != 1 else ''}"
        text = "the same" if found.adds_like(compared) else str(compared)
        console.print(f"{on}: {text}", soft_wrap=True, markup=False)
    if tree and found.order is not None:
        _draw(console, found.order, found.terms)


def _softmax(variant: Variant, *, size: int, threads: int | None, quiet: bool) -> None:
    from ..reveal import reveal_softmax

    found = reveal_softmax(variant, size=size, threads=threads)
    if not quiet:
        output().print(f"{variant.name} {found}", soft_wrap=True, markup=False)


def _draw(console: Console, order: Order, terms: int) -> None:
    from ..arithmetic import Tree

    written = order if isinstance(order, Tree) else Tree.of(order, terms)
    console.print(str(written), soft_wrap=True, markup=False)
    console.print(written.drawing(), soft_wrap=True, markup=False)


def _network(variant: Variant, weights: str, size: int, threads: int | None, path: Path | None, *, quiet: bool) -> None:
    from ..atomic import check_writable
    from ..reveal import keep
    from ..reveal import reveal as reveal_network
    from ..weights import load_weights

    if path is not None:
        check_writable(path)
    w = load_weights(weights)
    with ProbeBar(variant.name, quiet=quiet) as bar:
        found = reveal_network(variant, weights=w, size=(size, size), threads=threads, progress=bar)
    if path is not None:
        found.save(path)
    if not quiet:
        _show(output(), found)
        if path is not None:
            output().print(f"written: {path}", style="dim", soft_wrap=True)
    try:
        keep(found, variant, w, threads=threads)
    except (InputError, OSError) as error:  # what was found is shown, and written where it was asked for
        complain(f"not kept for later: {error}")


def _show(console: Console, profile: Profile) -> None:
    """How often each order and form was found, with the layers where it is rare, and what is not explained."""
    from ..reveal import described_softmax
    from ..reveal.subnormals import KEPT

    probed = {layer: entry for layer, entry in profile.layers.items() if PROBED & entry.keys()}
    console.print(f"{profile.variant}: {len(probed)} layers probed in {profile.provenance['seconds']} s")
    ways = _grouped({layer: described(entry) for layer, entry in probed.items() if "reason" not in entry})
    for text, layers in sorted(ways.items(), key=lambda item: -len(item[1])):
        console.print(f"{len(layers):4d}  {text}: {_named(layers)}", soft_wrap=True, markup=False)
    softmaxes = {
        layer: described_softmax(entry["softmax"]) for layer, entry in profile.layers.items() if "softmax" in entry
    }
    flushed = {
        layer: f"subnormal {entry['subnormals']} taken for zero"
        for layer, entry in probed.items()
        if entry.get("subnormals", "") not in (KEPT, "")
    }
    for text, layers in (_grouped(softmaxes) | _grouped(flushed)).items():
        console.print(f"      {text}: {_named(layers)}", soft_wrap=True, markup=False)
    show_unexplained(console, profile)
    if not profile.unexplained:
        outputs = Counter(entry["outputs"] for entry in profile.layers.values())
        total = sum(count * times for count, times in outputs.items())
        console.print(f"every probed layer is explained: 0 of {total:,} outputs of drawn numbers differ")


def show_unexplained(console: Console, profile: Profile) -> None:
    """The layers whose bits refnet does not have, by reason."""
    for reason, layers in _grouped(profile.unexplained).items():
        text = f"{len(layers):4d}  not explained: {reason}: {_named(layers)}"
        console.print(text, style="red", soft_wrap=True, markup=False)


def _grouped(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Text -> the layers of which it is said."""
    layers: dict[str, list[str]] = {}
    for layer, text in texts.items():
        layers.setdefault(text, []).append(layer)
    return layers


def _named(layers: list[str]) -> str:
    return ", ".join(layers) if len(layers) <= 3 else f"{layers[0]} ... {layers[-1]}"


def described(entry: Mapping[str, object]) -> str:
    """A profile's entry in words: `blocks:512, fma, bias last`, and what is otherwise in the plain model."""
    from ..reveal.profile import FIELDS

    plain = entry.get("plain")
    if isinstance(plain, Mapping):
        other = [f"{name} {value}" for name, value in plain.items() if name in FIELDS and value != entry.get(name)]
        return f"{_alone(entry)}; in the plain model {', '.join(other)}" if other else _alone(entry)
    return _alone(entry)


def _alone(entry: Mapping[str, object]) -> str:
    """As the layer is computed where it is returned."""
    if "order" in entry:
        from ..arithmetic import shortened
        from ..reveal.layer_order import part_text
        from ..reveal.profile import formats_of, parts_of
        from ..reveal.sum_formats import BIASES, in_words

        last = f"mean {entry['mean']}" if "mean" in entry else BIASES[str(entry["bias"])]
        how = in_words(formats_of(entry), shortened(str(entry["order"])), bool(entry["fma"]), last)
        return "; ".join([how, *map(part_text, parts_of(entry))])
    if "batch_norm" not in entry:
        return "addition"
    scale = ["its own factor (read off)"] if entry["scale"] == "given" else []
    shift = ["shift fused"] if entry["shift"] == "fused" else []
    return ", ".join([f"batch normalisation {entry['batch_norm']}", *shift, *scale])
