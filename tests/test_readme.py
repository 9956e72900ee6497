"""What README.md shows is what happens: its Python sessions are run, in one namespace, and must print what it says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

SESSION = re.compile(r"^```python\n(>>> .*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS_BACKEND = re.compile(r"torch")  # blocks that run it or read its trace
LONG = re.compile(r"mp50")  # multiprecision: half a minute


def blocks(text: str) -> list[str]:
    """The `>>>` blocks of a page."""
    return SESSION.findall(text)


def failures(sessions: list[str]) -> str:
    """What doctest has to say of these blocks, run one after another; empty if all of it is as shown."""
    said = list[str]()
    test = doctest.DocTestParser().get_doctest("\n".join(sessions), {}, "README.md", None, None)
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.fixture
def sessions(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """README's blocks that need no backend; what they write goes into a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    found = blocks((project / "README.md").read_text(encoding="utf-8"))
    return [block for block in found if not NEEDS_BACKEND.search(block)]


def test_only_the_two_blocks_about_a_backend_are_left_out(project: Path, sessions: list[str]) -> None:
    text = (project / "README.md").read_text(encoding="utf-8")
    assert len(sessions) == len(blocks(text)) - 2
    assert sum(block.count(">>>") for block in blocks(text)) == text.count(">>>")


@pytest.mark.slow
def test_python_sessions_print_what_readme_shows(sessions: list[str]) -> None:
    assert failures([block for block in sessions if not LONG.search(block)]) == ""


@pytest.mark.exhaustive
def test_all_python_sessions_print_what_readme_shows(sessions: list[str]) -> None:
    assert failures(sessions) == ""


def test_a_wrong_output_is_seen() -> None:
    assert failures([">>> 1 + 1\n2\n"]) == ""
    assert "Expected" in failures([">>> 1 + 1\n3\n"])


def test_the_faults_are_those_that_were_made_and_found(project: Path) -> None:
    """test_diagnosis_faults.py makes what docs/diagnose.md says; README says the same of the faults that it names."""
    page = (project / "docs" / "diagnose.md").read_text(encoding="utf-8")
    proven = {cells[0]: f"{cells[2]}; the class {cells[3]}" for cells in rows(page, 5)}
    shown = {cells[2]: cells[1] for cells in rows((project / "README.md").read_text(encoding="utf-8"), 3)[1:]}
    shown = {name: symptom for name, symptom in shown.items() if "the class" in symptom}
    assert len(shown) > 15
    assert {name: proven.get(name) for name in shown} == shown


def rows(text: str, width: int) -> list[list[str]]:
    """The cells of every line that is a table's row of so many."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if len(row) == width]
