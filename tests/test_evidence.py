"""The evidence: pictures that are the same everywhere, cells kept whole, and a table that hides no wrong verdict."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import refnet.evidence.matrix
from refnet.backends import VARIANTS, Run
from refnet.cli import main
from refnet.errors import InputError
from refnet.evidence import VIEWS, Cell, Judged, Matrix, page, pictures, saved, summary, within
from refnet.evidence.cell import expected_of, key_of
from refnet.evidence.page import BEGIN, END

SILENT = lambda name, stage, seconds: None  # noqa: E731


def test_there_are_twenty_pictures_all_different_and_the_same_everywhere() -> None:
    x = pictures(size=64)
    assert x.shape == (20, 64, 64, 3)
    assert x.dtype == np.float32
    assert len({sha256(picture.tobytes()).hexdigest() for picture in x}) == len(VIEWS)
    assert np.isfinite(x).all()
    assert sha256(x.tobytes()).hexdigest() == PINNED, "a change of pictures makes all kept cells old"


PINNED = "0316f8d8a5f6f303b6707a2e0b6ca44788bc1c3fd23a6246fabda44ffcab1aa9"


def test_unknown_pictures_are_refused() -> None:
    for names in (["nothing"], []):
        with pytest.raises(InputError, match="pictures"):
            pictures(names)


# --- cells ------------------------------------------------------------------------------------------------------------


def judged(verdict: str, picture: str = "bundled") -> Judged:
    return Judged(picture, verdict, "because", None, 0.5, verdict, 1e-6, {verdict: 177})


def cell(*verdicts: str, expected: str = "rounding", variant: str = "torch") -> Cell:
    rows = tuple(judged(verdict, picture) for verdict, picture in zip(verdicts, VIEWS, strict=False))
    status, reason = ("ok", "") if rows else ("killed", "signal 9")
    return Cell(variant, "seed 0", "key", status, reason, expected, 3.0, rows)


def test_a_cell_reads_back_as_it_was_written(tmp_path: Path) -> None:
    for place, one in enumerate((cell("rounding", "mismatch"), cell(), cell(expected="reduced:bfloat16"))):
        one.save(tmp_path / f"{place}.json")
        assert Cell.load(tmp_path / f"{place}.json") == one


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "pictures": [{}]}'])
def test_a_file_that_is_no_cell_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        Cell.load(tmp_path / "x.json")


@pytest.mark.parametrize("broken", [{"status": "well"}, {"status": "killed"}, {"pictures": ()}])
def test_a_cell_checks_itself(broken: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(cell("rounding"), **broken)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdict", "expected", "wrong"),
    [
        ("identical", "rounding", False),
        ("rounding", "rounding", False),
        ("undecided", "rounding", True),
        ("mismatch", "rounding", True),
        ("reduced:bfloat16", "rounding", True),
        ("reduced:bfloat16", "reduced:bfloat16", False),
        ("reduced:tf32", "reduced:bfloat16", True),
        ("rounding", "reduced:bfloat16", True),
    ],
)
def test_only_the_expected_verdict_is_right(verdict: str, expected: str, wrong: bool) -> None:
    assert bool(cell(verdict, expected=expected).wrong) is wrong


@pytest.mark.parametrize(
    ("policy", "told", "expected"),
    [
        ("float32", None, "rounding"),
        ("float32", "f32", "rounding"),
        ("float32", "highest", "rounding"),
        ("float32", "bfloat16", "rounding"),
        ("float64", None, "rounding"),
        ("float32", "bf16", "reduced:bfloat16"),
        ("float32", "tf32", "reduced:tf32"),
        ("mixed_bfloat16", None, "reduced:bfloat16"),
        ("mixed_float16", None, "reduced:float16"),
    ],
)
def test_what_is_expected_follows_from_policy_and_precision(policy: str, told: str | None, expected: str) -> None:
    variant = replace(VARIANTS["torch"], dtype_policy=policy)
    run = Run("torch", "killed", "why", provenance={"backend": {"inference_precision": told}})
    assert expected_of(variant, run) == expected


@pytest.mark.parametrize(
    ("backend", "expected"), [("torch", "reduced:float32"), ("jax", "reduced:float32"), ("tensorflow", "rounding")]
)
def test_keras_takes_a_mean_in_float32_in_some_backends(backend: str, expected: str) -> None:
    run = Run("any", "killed", "why", provenance={"backend": {"backend": backend}})
    assert expected_of(replace(VARIANTS["torch"], dtype_policy="float64"), run) == expected
    assert expected_of(VARIANTS["torch"], run) == "rounding"


def test_the_key_changes_with_all_that_a_cell_is_made_from() -> None:
    variant = VARIANTS["torch"]
    keys = {
        key_of(variant, "w", ["p"], "float64"),
        key_of(replace(variant, environment={"A": "1"}), "w", ["p"], "float64"),
        key_of(variant, "v", ["p"], "float64"),
        key_of(variant, "w", ["p", "q"], "float64"),
        key_of(variant, "w", ["p"], "certified"),
    }
    assert len(keys) == 5
    assert key_of(variant, "w", ["p"], "float64") in keys


# --- the matrix -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(bool(VARIANTS["jax"].missing_modules), reason="jax is not installed")
def test_a_slice_is_as_expected_and_is_not_run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = Matrix(tmp_path / "evidence", ("jax",), ("bundled", "noise"), (0,), size=32, threads=2)
    (first,) = matrix.cells(SILENT)
    assert first.status == "ok", first.reason
    assert [row.picture for row in first.pictures] == ["bundled", "noise"]
    assert first.wrong == ()
    assert {path.name for path in (tmp_path / "evidence").rglob("*")} == {"seed-0", "jax.json"}, "no trace stays"

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was run again")

    monkeypatch.setattr(refnet.evidence.matrix, "run", refuse)
    assert list(matrix.cells(SILENT)) == [first] == list(saved(tmp_path / "evidence"))
    with pytest.raises(AssertionError, match="run again"):
        list(replace(matrix, views=("bundled",)).cells(SILENT))


def test_a_backend_that_does_not_run_is_a_cell_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(variants, *_, **__):
        return [Run(variant.name, "killed", "signal 9") for variant in variants]

    monkeypatch.setattr(refnet.evidence.matrix, "run", dead)
    (found,) = Matrix(tmp_path, ("torch",), ("bundled",), (0,), size=32).cells(SILENT)
    assert (found.status, found.reason, found.pictures) == ("killed", "signal 9", ())


@pytest.mark.parametrize("broken", [{"variants": ("no-such",)}, {"seeds": ()}])
def test_a_matrix_checks_itself(broken: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Matrix(tmp_path, **broken)  # type: ignore[arg-type]


# --- the page ---------------------------------------------------------------------------------------------------------

CELLS = [cell("rounding", "identical"), cell("mismatch", variant="jax"), cell(variant="numpy")]


def test_the_page_counts_and_names_what_is_wrong() -> None:
    assert summary(CELLS) == ("3 verdicts: 2 variants on 2 pictures and 1 set of weights. 1 are not as expected.")
    text = page(CELLS)
    assert "| torch | rounding | 2 of 2 | 1 rounding, 1 identical |" in text
    assert "| jax | rounding | 0 of 1 | 1 mismatch |" in text
    assert "- **jax**, seed 0, bundled: mismatch, expected rounding; because" in text
    assert "- **numpy** (killed): signal 9" in text


def test_the_table_takes_its_place_and_leaves_the_rest_of_the_page() -> None:
    once = within("# Evidence\n\nWords.\n", page(CELLS))
    assert once.startswith("# Evidence\n\nWords.\n")
    twice = within(once, page(CELLS[:1]))
    assert twice.count(BEGIN.format("evidence")) == twice.count(END.format("evidence")) == 1
    assert "jax" in once
    assert "jax" not in twice
    assert within(twice, page(CELLS)) == once


def test_the_command_writes_the_page_and_fails_on_a_wrong_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[Matrix] = []

    def cells(matrix: Matrix, progress: object) -> list[Cell]:
        asked.append(matrix)
        return CELLS if "jax" in matrix.variants else CELLS[:1]

    monkeypatch.setattr(Matrix, "cells", cells)
    assert main(["evidence", "--variants", "torch", "--pictures", "3", "--weights", "4,5", "--page", "e.md"]) == 0
    assert asked[0].views == tuple(VIEWS)[:3]
    assert asked[0].seeds == (4, 5)
    assert BEGIN.format("evidence") in (tmp_path / "e.md").read_text()
    assert "2 verdicts" in capsys.readouterr().out
    assert main(["evidence", "--variants", "jax", "--quiet"]) == 1
    for arguments in (["--weights", "x"], ["--variants", "no-such"], ["--pictures", "no-such"]):
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        assert main(["evidence", *arguments]) == 2


# --- checked before the work ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"truth": "foo"},
        {"variants": ()},
        {"variants": ("nobody",)},
        {"views": ()},
        {"views": ("nothing",)},
        {"seeds": ()},
        {"seeds": (-1,)},
    ],
    ids=str,
)
def test_a_matrix_that_cannot_be_run_is_refused_when_it_is_made(broken: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Matrix(tmp_path, **broken)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--truth", "foo"],
        ["--page", "nowhere/x.md"],
        ["--page", "x.txt"],
        ["--page", "bytes.md"],
        ["--weights", "one"],
        ["--pictures", "0"],
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_before_any_work(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Matrix, "cells", lambda *_: pytest.fail("it began to work"))
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe\xff")
    assert main(["evidence", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bytes.md"]
