"""Two variants side by side: made-up backends, refnet itself in two arithmetics, part where they were made to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import random_images, random_weights
from rich.console import Console

import refnet
import refnet.comparison.comparing
import refnet.images
import refnet.weights
from refnet.backends import VARIANTS, Run, Variant
from refnet.cli import main
from refnet.comparison import REASONS, Pair, Reason, VariantComparison
from refnet.comparison.reasons import UNNAMED, reason_of
from refnet.drift import Verdict
from refnet.errors import InputError, VariantError
from refnet.report import comparison_tables
from refnet.verdict.layer import TOGETHER

WEIGHTS, PICTURE = random_weights(), random_images(1)
How = Mapping[str, Any]


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """backends(torch=..., jax=...): what each is made to compute; a Run stands for itself."""

    def computed(how: How | Run, variant: Variant) -> Run:
        if isinstance(how, Run):
            return how
        trace = refnet.activations(PICTURE, WEIGHTS, **how)
        return Run(variant.name, "ok", trace=trace, logits=trace["predictions"])

    def replace_them(**hows: How | Run) -> None:
        def run(chosen: Sequence[Variant], *_: Any, **__: Any) -> list[Run]:
            return [computed(hows[variant.name], variant) for variant in chosen]

        monkeypatch.setattr(refnet.comparison.comparing, "run", run)
        monkeypatch.setattr(refnet.comparison.comparing, "_check_installed", lambda variant: None)

    return replace_them


def compared(first: str = "torch", second: str = "jax") -> VariantComparison:
    return refnet.compare(first, second, PICTURE, WEIGHTS, threads=2)


def shown(found: VariantComparison, width: int = 110) -> str:
    text = StringIO()
    Console(file=text, width=width).print(comparison_tables(found), soft_wrap=True)
    return text.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "layer", "reason"),
    [
        ({"order": {"conv3_block1_1_conv": "reversed"}}, "conv3_block1_1_conv", ("order", "reversed")),
        ({"fma": {"predictions": False}}, "predictions", ("order", "sequential, fma=False")),
        ({"batch_norm": {"conv2_block1_1_bn": "shifted"}}, "conv2_block1_1_bn", ("form", "shifted")),
        ({"precision": {"conv1_conv": "tf32"}}, "conv1_conv", ("precision", "tf32")),
    ],
    ids=["order", "fma", "form", "precision"],
)
def test_they_part_where_one_was_made_to_compute_otherwise(
    backends: Callable[..., None], how: How, layer: str, reason: tuple[str, str]
) -> None:
    backends(torch={}, jax=how)
    found = compared()
    assert found.first is not None and found.first.reason is not None
    assert found.first.layer == layer
    assert (found.first.reason.kind, found.first.reason.ways[1]) == reason
    assert list(found.otherwise.values()) == [(layer,)]  # of all layers behind it, none computes otherwise
    before = [pair.layer for pair in found.layers].index(layer)
    assert all(pair.equal and pair.distance == 0 for pair in found.layers[:before])
    assert not found.equal and found.explained == (reason[0] != "precision")
    text = shown(found)
    assert layer in text and f"{before} of 177 layers are equal" in text and f"{reason[1]} (jax)" in text


def test_variants_of_the_same_bits_are_equal(backends: Callable[..., None]) -> None:
    backends(torch={}, jax={})
    found = compared()
    assert found.equal and found.explained and found.first is None and found.nearer is None
    assert not found.otherwise and "All 177 layers are equal to the bit" in shown(found)


def test_plain_models_that_part_alone_are_not_equal(backends: Callable[..., None]) -> None:
    trace = refnet.activations(PICTURE, WEIGHTS)
    nudged = np.nextafter(trace["predictions"], np.float32(inf))
    backends(torch={}, jax=Run("jax", "ok", trace=trace, logits=nudged))
    found = compared()
    assert found.first is None and not found.equal and found.logits.bits == nudged.size
    assert "10 of 10 numbers differ" in shown(found) and "though every layer is equal" in shown(found)


@pytest.mark.slow
def test_the_nearer_one_is_that_of_the_smaller_error(backends: Callable[..., None]) -> None:
    """By a second route: the norms of the logits' errors, computed here."""
    backends(torch={}, jax={"order": "kahan"})
    found = compared()
    truth = refnet.activations(PICTURE, WEIGHTS, precision="float64")["predictions"]
    errors = [
        np.linalg.norm(refnet.activations(PICTURE, WEIGHTS, **how)["predictions"] - truth)
        for how in ({}, {"order": "kahan"})
    ]
    assert found.nearer == ("torch" if errors[0] < errors[1] else "jax")


def test_a_pair_counts_bits_and_signs_of_zero_and_measures_the_distance() -> None:
    a = np.array([1, 0.0, np.nan, 3], np.float32)
    b = np.array([2, -0.0, np.nan, 3], np.float64)
    pair = Pair.of("conv1_conv", a, b, np.array([3, 4, 0, 0], np.float64))
    assert (pair.bits, pair.zeros, pair.numbers, pair.distance, pair.largest) == (1, 1, 4, 0.2, 1.0)
    assert Pair.of("x", a[:2], a[:2], np.zeros(2)).distance == 0
    assert Pair.of("x", a[:2], a[:2] + 1, np.zeros(2)).distance == inf
    with pytest.raises(InputError, match="shapes"):
        Pair.of("x", a, a[:2], a)


def verdict(kind: str, replayed: str | None = None, format_: str = "float32", reason: str = "") -> Verdict:
    return Verdict(kind, format_, reason, replayed)


ROUNDING = verdict("rounding")


@pytest.mark.parametrize(
    ("operation", "first", "second", "reason"),
    [
        ("conv2d", verdict("identical", "a"), verdict("identical", "a"), None),
        ("conv2d", verdict("identical", "a"), verdict("identical", "b"), Reason("order", ("a", "b"))),
        ("mean_pool", verdict("identical", "a"), ROUNDING, Reason("order", ("a", UNNAMED))),
        ("batch_norm", ROUNDING, ROUNDING, Reason("form", (UNNAMED, UNNAMED))),
        ("relu", verdict("identical", "exact"), verdict("identical", "exact"), None),
        ("relu", verdict("identical", "exact"), ROUNDING, Reason("flushing", ("kept", "flushed to zero"))),
        ("relu", ROUNDING, ROUNDING, None),
        ("dense", ROUNDING, verdict("reduced", None, "tf32"), Reason("precision", ("float32", "tf32"))),
        ("dense", verdict("reduced", None, "tf32"), verdict("reduced", None, "tf32"), None),
        ("dense", ROUNDING, verdict("rounding", None, "float64"), Reason("precision", ("float32", "float64"))),
        (
            "relu",
            verdict("identical", "exact"),
            verdict("rounding", reason=f"{TOGETHER} conv1_bn: small"),
            Reason("fusion", ("by itself", f"{TOGETHER} conv1_bn")),
        ),
        ("conv2d", ROUNDING, verdict("mismatch"), Reason("unexplained", ("rounding", "mismatch"))),
    ],
)
def test_a_reason_for_every_pair_of_verdicts(
    operation: str, first: Verdict, second: Verdict, reason: Reason | None
) -> None:
    assert reason_of(operation, first, second) == reason
    turned = None if reason is None else replace(reason, ways=(reason.ways[1], reason.ways[0]))
    assert reason_of(operation, second, first) == turned


def test_every_reason_has_a_name() -> None:
    for kind, called in REASONS.items():
        assert Reason(kind, ("x", "y")).between("torch", "jax") == f"{called}: x (torch), y (jax)"
    with pytest.raises(InputError, match="one of order"):
        Reason("weather", ("x", "y"))


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to work in, with a small picture and small weights in place of the real ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(refnet.images, "load_images", lambda files, size: PICTURE)
    monkeypatch.setattr(refnet.weights, "load_weights", lambda source: WEIGHTS)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["torch"], "VARIANT"),
        (["torch", "nonsense"], "expected some of tensorflow"),
        (["torch", "torch"], "named twice: torch"),
        (["torch", "none"], "1 variants to compare"),
        (["torch", "jax", "--truth", "guess"], "one of certified, float64"),
        (["torch", "jax", "--json", "found.txt"], ".txt"),
        (["torch", "jax", "--variants-file", "nothing.toml"], "nothing.toml"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["compare", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_a_backend_that_is_missing_is_code_3_before_the_other_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.toml").write_text('[absent]\nmodules = ["no_such_module"]\nextra = "torch"\n')
    monkeypatch.setattr(refnet.comparison.comparing, "run", lambda *_, **__: pytest.fail("one was run"))
    assert main(["compare", "torch", "absent", "--variants-file", "mine.toml"]) == 3
    assert "absent" in capsys.readouterr().err


def test_a_backend_that_fails_is_code_3(
    here: Path, backends: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    backends(torch={}, jax=Run("jax", "failed", "out of luck"))
    assert main(["compare", "torch", "jax"]) == 3
    assert "jax failed: out of luck" in capsys.readouterr().err
    with pytest.raises(VariantError, match="luck"):
        compared()


@pytest.mark.parametrize(("how", "code"), [({"order": {"conv1_conv": "reversed"}}, 0), ({"precision": "tf32"}, 1)])
def test_the_code_says_whether_rounding_explains_it(
    here: Path, backends: Callable[..., None], how: How, code: int
) -> None:
    backends(torch={}, jax=how)
    assert main(["compare", "torch", "jax", "--json", "found.json", "--threads", "2"]) == code
    document = json.loads((here / "found.json").read_text(encoding="utf-8"))
    assert document["first_layer"] == "conv1_conv" and len(document["layers"]) == 177
    assert document["explained"] == (code == 0) and document["equal"] is False
    assert [row["variant"] for row in document["variants"]] == ["torch", "jax"]


@pytest.mark.exhaustive
def test_two_real_backends() -> None:
    """torch and numpy agree on nothing but the numbers: both are explained by rounding."""
    if missing := [name for name in ("torch", "numpy") if VARIANTS[name].missing]:
        pytest.skip(f"{', '.join(missing)} cannot run here")
    x = np.random.default_rng(3).uniform(-100, 100, (1, 64, 64, 3)).astype(np.float32)
    found = refnet.compare("torch", "numpy", x, refnet.load_weights("synthetic"), threads=2)
    assert found.explained and found.nearer in ("torch", "numpy")
