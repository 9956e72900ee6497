"""`refnet certify` as a user meets it, on a small picture: what it prints, its files, its exit codes, Ctrl-C."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from mpmath.libmp import from_man_exp
from rich.console import Console

import refnet
from refnet import Certificate
from refnet.certificate.logits import proven_digits
from refnet.certificate.text import ball, decimal, hexadecimal
from refnet.cli import main
from refnet.cli.layer_bar import LayerBar, work_of
from refnet.weights import Weights

SMALL = ["certify", "--size", "32"]


def number(mantissa: int, exponent: int) -> mpf:
    return mp.make_mpf(from_man_exp(mantissa, exponent))


def exact(x: mpf) -> Fraction:
    sign, mantissa, exponent, _ = x._mpf_
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** exponent


def of_hex(text: str) -> Fraction:
    """A second reader of hexadecimal numbers, of any length."""
    mantissa, exponent = text.split("p")
    return Fraction(int(mantissa, 16)) * Fraction(2) ** int(exponent)


NUMBERS = st.builds(number, st.integers(-(10**40), 10**40), st.integers(-2000, 500))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, synthetic: Weights) -> Iterator[tuple[Path, str]]:
    """The folder with c.npz and c.json of one run, and what it printed."""
    folder = tmp_path_factory.mktemp("certified")
    files = ["--output", str(folder / "c.npz"), "--json", str(folder / "c.json")]
    done = subprocess.run([sys.executable, "-m", "refnet", *SMALL, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    yield folder, done.stdout


@pytest.fixture(scope="module")
def document(made: tuple[Path, str]) -> dict[str, Any]:
    """The JSON, read by a reader that knows no NaN and no Infinity."""
    return json.loads((made[0] / "c.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_it_prints_what_is_proven(made: tuple[Path, str], synthetic: Weights) -> None:
    text = made[1]
    small = refnet.load_image(refnet.bundled_image(), size=32)
    first, second = np.argsort(-refnet.predict(small, synthetic, precision="float64")[0])[:2]
    assert f"first class {first}: certified" in text and f"before class {second}" in text
    assert "nothing is open: every logit has one rounding to 53 bits" in text
    assert "320 bits used" in text and "exactly zero: " in text and "radius / RMS" in text
    rows = [line.split() for line in text.splitlines() if line.split() and line.split()[0].isdigit()]
    assert len(rows) == 5 and int(rows[0][0]) == first
    assert all(float(lower) <= float(upper) for *_, lower, upper in rows)
    assert max(len(line) for line in text.splitlines() if "written" not in line and "picture" not in line) <= 80


def test_the_json_holds_the_certificate_exactly(made: tuple[Path, str], document: dict[str, Any]) -> None:
    kept = Certificate.load(made[0] / "c.npz")
    logits = document["pictures"][0]["logits"]
    assert [of_hex(row["value"]["hex"]) for row in logits] == [exact(x) for x in kept.value[0]]
    assert [of_hex(row["radius"]["hex"]) for row in logits] == [exact(x) for x in kept.radius[0]]
    for row in logits:
        with mp.workprec(kept.working_precision):
            assert exact(mpf(row["value"]["decimal"])) == of_hex(row["value"]["hex"])
        assert Fraction(row["radius"]["decimal"]) >= of_hex(row["radius"]["hex"]) > 0
    assert document["schema"] == 1 and document["provenance"]["weights"] == kept.provenance["weights"]
    assert (document["bits"], document["working_precision"], document["needed"]) == (53, 320, kept.needed)
    assert document["decided"] is True and document["open"] == {"logits": [], "layers": []}
    assert [row["layer"] for row in document["growth"]] == list(kept.layers)
    assert document["growth"][0] == {"layer": "input_layer", "log2_radius_over_rms": "-Infinity", "digits": "Infinity"}
    assert document["growth"][-1]["log2_radius_over_rms"] == kept.growth["predictions"]


def test_the_json_bounds_the_softmax_and_the_first_class(document: dict[str, Any], synthetic: Weights) -> None:
    picture = document["pictures"][0]
    values = [of_hex(row["value"]["hex"]) for row in picture["logits"]]
    with mp.workprec(400):
        powers = [mp.exp(mpf(value.numerator) / value.denominator) for value in values]
        softmax = [exact(power / mp.fsum(powers)) for power in powers]
    for row, value in zip(picture["logits"], softmax, strict=True):
        lower, upper = row["softmax"]["lower"], row["softmax"]["upper"]
        assert Fraction(lower["decimal"]) <= of_hex(lower["hex"]) <= value <= of_hex(upper["hex"])
        assert of_hex(upper["hex"]) <= Fraction(upper["decimal"])
        assert of_hex(upper["hex"]) - of_hex(lower["hex"]) <= value / 2**50
    first, second = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:2]
    top = picture["top1"]
    assert (top["class"], top["next"], top["certified"]) == (first, second, True)
    assert 0 < Fraction(top["margin"]["decimal"]) <= of_hex(top["margin"]["hex"]) < values[first] - values[second]


def test_a_certificate_that_holds_exits_with_0(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    report = made[0] / "checked.json"
    assert main([*SMALL, "--check", str(made[0] / "c.npz"), "--fail-on", "open", "--json", str(report)]) == 0
    assert "holds: 177 layers and 1000 logits" in capsys.readouterr().out
    assert json.loads(report.read_text())["check"] == {"holds": True, "midpoints": [], "radii": [], "logits": 0}


def test_a_certificate_that_does_not_hold_exits_with_1(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A logit moved, more digits of a layer than are proven, a midpoint of another, and a layer left out."""
    kept = Certificate.load(made[0] / "c.npz")
    value, layers = kept.value.copy(), dict(kept.layers)
    value[0, 7] *= 1 + mpf(2) ** -50
    layers["conv5_block3_out"] = replace(layers["conv5_block3_out"], largest=-300.0)
    layers["pool1_pool"] = replace(layers["pool1_pool"], sha256="0" * 64)
    del layers["conv1_bn"]
    replace(kept, value=value, layers=layers).save(tmp_path / "other.npz")
    assert main([*SMALL, "--check", str(tmp_path / "other.npz")]) == 1
    assert [line.strip() for line in capsys.readouterr().out.splitlines()[1:]] == [
        "midpoints differ: conv1_bn, pool1_pool",
        "radii differ: conv1_bn, conv5_block3_out",
        "logits differ: 1",
    ]


def test_what_stays_open_is_said_and_exits_with_1_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, "--max-digits", "36", "--fail-on", "open", "--json", "open.json"]) == 1
    text = capsys.readouterr().out
    assert "not certified" in text and "a larger --max-digits may decide it" in text and "995 more logits" in text
    found = json.loads((tmp_path / "open.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert len(found["open"]["logits"]) == 1000 and not found["decided"] and found["needed"] > 64
    assert "conv5_block3_out" in found["open"]["layers"] and "conv1_conv" not in found["open"]["layers"]
    bounds = [row["softmax"] for row in found["pictures"][0]["logits"]]
    assert all(0 <= Fraction(row["lower"]["decimal"]) < Fraction(row["upper"]["decimal"]) <= 1 for row in bounds)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-on", "nonsense"], "expected open"),
        (["--full"], "--full without --output"),
        (["--output", "c.npy"], "expected .npz"),
        (["--json", "c.txt"], "expected .json"),
        (["--json", "nowhere/c.json"], "cannot be written"),
        (["--check", "nothing.npz"], "no file nothing.npz"),
        (["--check", "a.npz", "--bits", "64"], "leave out what the file says"),
        (["--check", "a.npz", "--output", "b.npz"], "leave out what the file says"),
        (["--check", __file__], "is no whole certificate"),
        (["--max-digits", "20"], "max_digits=20"),
        (["--bits", "1"], "--bits"),
        (["--bits", "4000"], "max_digits=1000"),
        (["--image", "nothing.png"], "nothing.png"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("refnet: ") and said in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_of_another_picture_is_bad_input(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["certify", "--size", "33", "--check", str(made[0] / "c.npz")]) == 2
    assert "which the certificate is of" in capsys.readouterr().err


INTERRUPTED = """
import os, signal, sys
from refnet.cli import main
from refnet.cli.layer_bar import LayerBar

def interrupt(bar, layer, precision):
    if layer == "conv2_block1_1_conv":
        os.kill(os.getpid(), signal.SIGINT)

LayerBar.__call__ = interrupt
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "arguments",
    [[*SMALL, "--output", "c.npz", "--json", "c.json"], ["predict", "--size", "32", "--precision", "mp20"]],
)
def test_ctrl_c_ends_it_with_130_and_leaves_nothing(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert list(tmp_path.iterdir()) == []


def drawn(*, terminal: bool, quiet: bool = False) -> str:
    """What the bar draws while a network is computed twice."""
    screen = io.StringIO()
    graph = refnet.resnet(input_shape=(32, 32))
    with LayerBar(graph, quiet=quiet, console=Console(file=screen, force_terminal=terminal, width=120)) as bar:
        for bits in (320, 384):
            for layer in graph.names:
                bar.certifying(layer, 0, 0, bits)
            bar._progress.refresh()
    return screen.getvalue()


def test_the_bar_names_the_layer_its_place_and_the_time_left() -> None:
    text = drawn(terminal=True)
    assert "predictions  177 of 177  320 bits" in text and "177 of 177  384 bits" in text and "0:00:0" in text
    assert drawn(terminal=False) == drawn(terminal=True, quiet=True) == ""


def test_a_layer_counts_by_its_work() -> None:
    graph = refnet.resnet()
    work = {node.name: work_of(node) for node in graph.nodes}
    assert work["conv2_block1_2_conv"] > work["conv2_block1_2_bn"] > work["avg_pool"] > 0


@given(NUMBERS, st.integers(1, 60))
def test_decimal_text_lies_on_its_side_and_is_near(x: mpf, digits: int) -> None:
    below, above = (Fraction(decimal(x, digits, side)) for side in (ROUND_FLOOR, ROUND_CEILING))
    nearest = Fraction(decimal(x, digits))
    assert below <= exact(x) <= above and nearest in (below, above)
    assert abs(nearest - exact(x)) <= min(exact(x) - below, above - exact(x))
    assert above - below <= abs(exact(x)) * Fraction(10) ** (1 - digits)
    assert len(Decimal(decimal(x, digits)).as_tuple().digits) <= digits


@given(NUMBERS)
def test_hexadecimal_text_is_exact(x: mpf) -> None:
    assert of_hex(hexadecimal(x)) == exact(x)
    if abs(float(x)) > 1e-290 and x._mpf_[3] <= 53:
        assert float.fromhex(hexadecimal(x)) == float(x)


@given(NUMBERS, NUMBERS, st.integers(1, 20))
def test_a_ball_of_text_holds_the_ball(value: mpf, radius: mpf, digits: int) -> None:
    shown, around = (Fraction(part) for part in ball(value, abs(radius), digits).split(" ± "))
    assert abs(shown - exact(value)) + abs(exact(radius)) <= around


@pytest.mark.parametrize("side", [ROUND_FLOOR, ROUND_CEILING])
def test_a_bound_beyond_all_reason_is_still_a_bound(side: str) -> None:
    tiny = number(1, -(2**80))
    assert (Fraction(decimal(tiny, 5, side)) > 0) == (side == ROUND_CEILING)


@given(NUMBERS, NUMBERS)
def test_proven_digits_are_never_too_many(value: mpf, radius: mpf) -> None:
    digits = proven_digits(value, abs(radius))
    if not radius:
        assert digits == math.inf
    elif digits:
        assert abs(exact(radius)) * 10 ** math.floor(digits) <= abs(exact(value))
    else:
        assert abs(exact(radius)) >= abs(exact(value)) * Fraction(999999, 1000000)
