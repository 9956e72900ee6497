"""The HTML page holds all it needs, says every verdict, and is small; its figures are Vega-Lite that compiles."""

from __future__ import annotations

import ast
import json
import math
import re
from base64 import b64encode
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
import vl_convert
from drift_samples import LAYERS, sample_drift, variant
from hypothesis import given
from hypothesis import strategies as st
from report_samples import FIRST, judged, large_drift
from rich.console import Console

from refnet.backends import VARIANTS
from refnet.drift import KINDS, OWN, Drift, Verdict
from refnet.drift.histogram import HIGHEST, LOWEST
from refnet.report import html, tables
from refnet.report.best_classes import best_classes
from refnet.report.chart import decades, ran, strokes
from refnet.report.depth_chart import depth_chart
from refnet.report.grids import layers_grid
from refnet.report.heat_chart import LIMITS, heat_chart
from refnet.report.theme import DARK, LIGHT, SERIES
from refnet.report.tolerances import layers_table, logits_line, tolerances, upwards
from refnet.report.ulp_chart import edge, ulp_chart
from refnet.report.words import LOOKS, ORDER, overall, sentence

CHARTS = (depth_chart, heat_chart, ulp_chart)
LIMIT = 5_000_000  # bytes


class Page(HTMLParser):
    """What a browser would load, and the text of each element of some kinds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.policy = ""
        self._kind: str | None = None
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.loads += [found[name] or "" for name in ("src", "href", "srcset", "action", "data") if name in found]
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""
        if tag == "script":
            self._inside, self._kind = True, found.get("type")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts.append((self._kind, data))


@pytest.fixture(scope="module")
def text() -> str:
    return html(large_drift())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


# --- one file ---------------------------------------------------------------------------------------------------------


def test_all_variants_stay_below_the_limit():
    rows = (judged(name, KINDS[place % len(KINDS)]) for place, name in enumerate(VARIANTS))
    drift = replace(large_drift(), variants=(judged(OWN, "identical"), *rows))
    assert len(html(drift).encode()) < LIMIT


def test_nothing_is_loaded_from_anywhere(page):
    assert page.loads and all(target.startswith("#") for target in page.loads)


def test_the_policy_allows_the_scripts_of_the_page_and_no_connection(page):
    assert page.policy.startswith("default-src 'none'; ") and "connect-src" not in page.policy
    runs = [text for kind, text in page.scripts if kind is None]
    hashes = [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in runs]
    assert len(runs) == 2 and re.findall("'sha256-[^']+'", page.policy) == hashes
    assert "unsafe-eval" not in page.policy


def test_the_same_drift_gives_the_same_page(text):
    assert html(large_drift()) == text


def test_every_layer_of_every_variant_is_in_the_table(text):
    data = json.loads([text for kind, text in Page(text).scripts if kind == "application/json"][-1])
    grid = layers_grid(large_drift())
    assert [[data["texts"][place] for place in row] for row in data["rows"]] == [[r.kind, *r.cells] for r in grid.rows]
    ran_in_it = [row.variant for row in ran(large_drift())]
    assert [row.cells[:2] for row in grid.rows] == [(name, layer) for name in ran_in_it for layer in LAYERS]


def test_names_and_reasons_are_text_and_never_markup():
    hostile = '</script><script>alert("1")</script>'
    drift = sample_drift(replace(judged("jax", "mismatch", reason=hostile), variant=hostile))
    text = html(drift)
    assert hostile not in text and "alert(&#34;1&#34;)" in text
    assert sum(kind is None for kind, _ in Page(text).scripts) == 2


@pytest.mark.parametrize("drift", [sample_drift(), Drift({}, {"kind": "float64"}, sample_drift().variants[2:])])
def test_a_drift_that_nobody_judged_or_that_did_not_run_is_a_page_too(drift):
    text = html(drift)
    assert "killed" in text and "Tolerances to paste" not in text


def test_numbers_that_are_none_or_too_large_are_gaps():
    row = judged("jax", "mismatch")
    broken = {"rel_l2": math.nan, "max_ulp": math.inf, "local_rms": math.inf}
    layers = {layer: {**numbers, **(broken if layer == FIRST else {})} for layer, numbers in row.layers.items()}
    text = html(sample_drift(replace(row, layers=layers, best_logits=(((1, math.nan),),), ulp_histograms={FIRST: {}})))
    charts = [text for kind, text in Page(text).scripts if kind == "application/json"]
    assert len(charts) == len(CHARTS) + 1, "the figures, and the table of layers"
    for chart in charts:
        json.loads(chart, parse_constant=pytest.fail)


# --- figures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chart", CHARTS)
def test_every_figure_compiles_and_draws_every_variant(chart):
    specification = chart(large_drift()) | {"width": 800}
    drawn = vl_convert.vegalite_to_svg(specification)
    assert "NaN" not in drawn
    colours = [f'="{stroke.colour}"' for stroke in strokes(ran(large_drift()))]
    for colour in colours if chart is not heat_chart else [f'="var(--heat{place})"' for place in (1, 6, 7)]:
        assert colour in drawn


def test_the_figures_of_the_page_are_these(page):
    found = [json.loads(text) for kind, text in page.scripts if kind == "application/json"]
    assert found[:-1] == [json.loads(json.dumps(chart(large_drift()))) for chart in CHARTS]


def test_lines_are_told_apart_by_colour_and_dash():
    looks = [(stroke.colour, tuple(stroke.dash)) for stroke in strokes(ran(large_drift()))]
    assert len(set(looks)) == len(looks) and looks[0] == ("var(--ink)", ())


def test_light_and_dark_know_the_same_colours():
    assert list(LIGHT) == list(DARK) and set(SERIES) < set(LIGHT) and set(LOOKS) < set(LIGHT)
    assert all(f"heat{place}" in LIGHT for place in range(len(LIMITS) + 1))


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_words_and_lines_stand_out_from_the_page(colours):
    """Contrast as WCAG 2.2 has it: 4.5 for text, 3 for lines."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(name: str) -> float:
        low, high = sorted((luminance(colours[name]), luminance(colours["paper"])))
        return (high + 0.05) / (low + 0.05)

    assert all(contrast(name) >= 4.5 for name in ("ink", "soft", "link", *LOOKS))
    assert all(contrast(name) >= 3 for name in SERIES)


def test_edges_of_the_histogram_are_powers_of_two():
    assert [edge(exponent) for exponent in (LOWEST, -3, -1, 0, 5, 9, 13, HIGHEST + 1)] == [
        *("0", "⅛", "½", "1", "32", "512", "2¹³", "∞")
    ]


@given(st.lists(st.floats(min_value=1e-300, max_value=1e300), min_size=1))
def test_decades_enclose_the_numbers(values):
    ticks = decades(values)
    assert ticks[0] <= min(values) * (1 + 1e-12) and ticks[-1] >= max(values) * (1 - 1e-12) and len(ticks) > 1


def test_decades_of_nothing_are_an_axis():
    assert len(decades([0.0, math.nan, math.inf])) > 1


# --- words ------------------------------------------------------------------------------------------------------------


def test_every_kind_has_a_look_and_a_place():
    assert set(ORDER) == set(LOOKS) == {*KINDS, "unjudged", "absent"}
    assert len({look.sign for look in LOOKS.values()}) == len(LOOKS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (OWN, "is equal in every bit to orders that refnet knows. Made up."),
        ("jax", "differs from the truth by rounding alone. Made up."),
        ("openvino", f"computes in bfloat16 from {FIRST} on. The local error fits operands rounded to bfloat16."),
        ("torch", f"cannot be judged on this data from {FIRST} on. Made up."),
        ("tensorflow-gpu", "did not run (missing): no GPU is here"),
    ],
)
def test_verdicts_are_sentences(name, words):
    assert sentence(large_drift()[name]) == words


@pytest.mark.parametrize("name", ["conv1_conv", "predictions", "jax"])
@pytest.mark.parametrize("after", [": operands in bfloat16", " differs", ", and more"])
def test_names_keep_their_case(name, after):
    assert f" {name}{after}. Cause: not searched" in sentence(judged("jax", "mismatch", reason=name + after))


def test_a_proof_and_a_cause_are_said():
    words = sentence(large_drift()["numpy"])
    assert f"computes something else from {FIRST} on, and that is proven" in words
    assert words.endswith("No | order <gives> these numbers. Cause: epsilon:1e-3.")


def test_a_fault_of_the_logits_alone_and_rounding_of_another_format_are_said():
    whole = Verdict("mismatch", reason="looking hides it")
    assert "in the logits of the plain model alone" in sentence(replace(judged("jax", "mismatch"), first_layer=None))
    double = Verdict("rounding", "float64", "small")
    row = replace(judged("jax", "rounding"), verdict=double, reason="small")
    assert sentence(row) == "differs from the truth by rounding alone, that of float64. Small."
    assert whole.kind == "mismatch"


def test_the_report_in_one_look_has_every_backend_once_and_the_worst_first():
    groups = overall(large_drift())
    named = [name for group in groups for name in group.variants]
    assert sorted(named) == sorted(row.variant for row in large_drift().variants if row.variant != OWN)
    assert [str(group) for group in groups][:3] == [
        *("Mismatch: numpy", "Undecided: torch", "Lower precision, bfloat16: openvino")
    ]


@pytest.mark.parametrize("width", [80, 110])
def test_the_screen_is_not_folded_with_twelve_variants(width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(tables(large_drift()))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    for row in large_drift().variants:
        assert sum(line.startswith(f"{row.variant} ") for line in lines) >= 2  # in a table, and in words


# --- tolerances -------------------------------------------------------------------------------------------------------


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_tolerances_are_rounded_upwards(value):
    assert Decimal(value) <= Decimal(upwards(value)) <= Decimal(value) * Decimal("1.1")


def test_tolerances_are_python_and_hold_every_layer():
    (found,) = tolerances(large_drift())
    assert logits_line(found) == "numpy.testing.assert_allclose(logits, truth, rtol=2.5e-5, atol=6.5e-6)"
    (assignment,) = ast.parse(layers_table(found)).body
    assert isinstance(assignment, ast.Assign)
    pasted = ast.literal_eval(assignment.value)
    assert list(pasted) == list(LAYERS)
    assert all(pasted[layer] >= found.layers[layer] for layer in LAYERS)


def test_variants_with_other_tolerances_stand_apart_and_unjudged_ones_have_none():
    other = judged("double", "rounding")
    other = replace(other, logits={**other.logits, "rtol": 1e-12})
    assert [of.variants for of in tolerances(sample_drift(judged("jax", "rounding"), other))] == [("jax",), ("double",)]
    assert tolerances(sample_drift()) == []


# --- classes ----------------------------------------------------------------------------------------------------------


def test_digits_that_leave_the_truth_are_cut_off():
    row = replace(variant("jax", 1e-7), best_logits=(((3, 12.345678), (8, 9.0)),))
    drift = Drift({}, {"kind": "float64", "top5": [[[3, 12.345912], [7, 9.5]]]}, (row,))
    (picture,) = best_classes(drift)
    truth, line = picture.lines
    assert [(place.agreed, place.rest) for place in truth.places] == [("12.345912", ""), ("9.5", "")]
    assert (line.places[0].agreed, line.places[0].rest, line.places[0].right) == ("12.345", "678", True)
    assert (line.places[1].agreed, line.places[1].rest, line.places[1].right) == ("", "9", False)
