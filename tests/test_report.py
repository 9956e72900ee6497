"""What people see: tables, page and picture hold every variant, fit, and say what the truth is."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from drift_samples import sample_drift, variant
from PIL import Image
from report_samples import FIRST, large_drift
from rich.console import Console

from refnet.backends import STATUSES
from refnet.cli import main
from refnet.drift import MEASURES, OWN, Drift
from refnet.drift.drift import LOGIT_COLUMNS
from refnet.errors import InputError
from refnet.graph import DEPTHS, resnet
from refnet.report import check_report, files, markdown, plot, tables, write_report
from refnet.report.summary import STATUS_STYLES, short, stage_ends

NOTHING_RAN = Drift({}, {"kind": "float64"}, sample_drift().variants[2:])


def printed(drift: Drift, width: int = 110) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(tables(drift))
    return console.export_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.14159e-6, "3.1e-6"),
        (0.5, "0.50"),
        (0.0123, "0.012"),
        (0.99999, "1.0"),
        (2.345, "2.3"),
        (1234.5, "1234"),
        (1.2e7, "1.2e7"),
        (3, "3.0"),
    ],
)
def test_numbers_are_short(value, text):
    assert short(value) == text
    assert short(math.nan) == "-" and short(math.inf) == "inf"


def test_the_screen_shows_every_variant_its_status_and_the_truth():
    text = printed(sample_drift())
    assert "truth: float64 oracle" in text and "synthetic" in text and "threads: 2" in text
    for row in sample_drift().variants:
        line = next(line for line in text.splitlines() if row.variant in line)
        assert ("not judged" if row.ran else row.status) in line
    assert 'torch did not run (missing): torch is not installed; pip install "refnet[torch]"' in text
    assert "…" not in text, "a column was cut"


def test_the_screen_says_whether_looking_changes_the_result():
    lines = printed(sample_drift()).splitlines()
    assert "same" in next(line for line in lines if OWN in line)
    assert "3.0e-6" in next(line for line in lines if "tensorflow" in line)


@pytest.mark.parametrize("depth", DEPTHS)
def test_stage_ends_are_the_last_layers_of_the_stages(depth):
    blocks = DEPTHS[depth]
    assert list(stage_ends(resnet(depth).names).values()) == [
        "conv1_relu",
        "pool1_pool",
        *(f"conv{stage + 2}_block{last}_out" for stage, last in enumerate(blocks)),
        "avg_pool",
        "predictions",
    ]


def test_the_page_has_all_sections_and_keeps_reasons_in_their_line():
    page = markdown(sample_drift(), "drift.png")
    for title in ("# Drift", "## Verdicts", "## Relative L2", "<details><summary>Measures", "<details><summary>Prov"):
        assert f"\n{title}" in f"\n{page}"
    assert "- **openvino** did not run (killed): died \\| of signal 9 (out of memory, perhaps)" in page
    assert "(drift.png)" in page and all(f"`{name}`" in page for name in MEASURES)
    tables_of_page = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables_of_page)


def test_the_picture_is_a_png_with_its_provenance(tmp_path):
    plot(sample_drift(), tmp_path / "drift.png")
    with Image.open(tmp_path / "drift.png") as picture:
        assert picture.width > 1000
        assert json.loads(picture.info["Description"])["weights"]["source"] == "synthetic"


def test_a_report_is_four_files(tmp_path):
    written = write_report(sample_drift(), tmp_path / "out.json")
    assert [path.name for path in written] == ["out.json", "out.md", "out.png", "out.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "out.json", "out.md", "out.png"]


def test_pages_are_made_again_from_the_file_alone(tmp_path):
    """What `refnet report` does: the same pages, to the byte, as when the drift was measured."""
    first = write_report(large_drift(), tmp_path / "drift.json")
    kept = {path: path.read_bytes() for path in first}
    for page in first[1:]:
        page.unlink()
    assert main(["report", str(first[0]), "--quiet"]) == 0
    assert {path: path.read_bytes() for path in first} == kept


@pytest.mark.parametrize(("name", "words"), [("none.json", "cannot read"), ("drift.md", "is not JSON")])
def test_what_is_no_drift_has_no_pages(tmp_path, capsys, name, words):
    (tmp_path / "drift.md").write_text("# Drift")
    assert main(["report", str(tmp_path / name)]) == 2
    assert words in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == ["drift.md"]


def test_the_page_for_a_pull_request_has_the_verdicts_first_and_the_tolerances():
    page = markdown(large_drift(), "drift.png")
    assert page.index("≠ **Mismatch:** numpy") < page.index("| variant | verdict |") < page.index("## Verdicts")
    assert "| openvino | ↓ bfloat16 |" in page and f"| {FIRST} |" in page
    assert "numpy.testing.assert_allclose(logits, truth, rtol=2.5e-5, atol=6.5e-6)" in page
    assert "no \\| order <gives>" in page.lower()


def test_a_report_where_nothing_ran_is_still_a_report(tmp_path):
    write_report(NOTHING_RAN, tmp_path / "drift.json")
    assert "killed" in printed(NOTHING_RAN) and "torch" in (tmp_path / "drift.md").read_text()


@pytest.mark.parametrize("name", ["drift.txt", "nowhere/drift.json"])
def test_outputs_are_checked_before_the_work(tmp_path, name):
    with pytest.raises(InputError):
        check_report(tmp_path / name)


def test_a_folder_in_the_way_of_the_page_is_seen_before_the_work(tmp_path):
    (tmp_path / "drift.md").mkdir()
    with pytest.raises(InputError, match="folder"):
        check_report(tmp_path / "drift.json")


def test_the_documentation_names_every_measure(project):
    text = (project / "docs" / "drift.md").read_text(encoding="utf-8")
    assert [name for name in LOGIT_COLUMNS if f"`{name}`" not in text] == []


def test_what_was_not_finite_is_said_of_a_variant_that_ran():
    drift = sample_drift(replace(variant("jax", 1e-6), reason="2 numbers are NaN or infinite, first in pool1_pool"))
    assert "jax was measured and not judged. 2 numbers are NaN or infinite, first in pool1_pool." in printed(drift)
    assert "- **jax** was measured and not judged. 2 numbers are NaN" in markdown(drift)


def test_a_report_replaces_the_older_one_whole_or_not_at_all(tmp_path, monkeypatch):
    names = ("drift.json", "drift.md", "drift.png", "drift.html")
    for name in names:
        (tmp_path / name).write_text("older")

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "markdown", broken)
    with pytest.raises(InputError, match="No space left"):
        write_report(sample_drift(), tmp_path / "drift.json")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "older")


def test_every_status_has_a_colour():
    assert set(STATUS_STYLES) == set(STATUSES)
