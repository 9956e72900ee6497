"""What the commands put on a terminal: text stands as it is, whatever is in it, and bars are seen on terminals only."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from drift_samples import sample_drift
from rich.console import Console

from refnet.cli.diagnose import SearchBar
from refnet.cli.screen import Bar, Stages, description, output
from refnet.drift import Drift
from refnet.report import tables

BRACKETS = ["refnet[openvino]", "folder[run1]/drift.json", "name[/x]", "[bold]name"]


@pytest.mark.parametrize("text", BRACKETS)
def test_what_stands_in_brackets_is_printed(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output().print(text, soft_wrap=True)
    assert capsys.readouterr().out == f"{text}\n"


@pytest.mark.parametrize("name", BRACKETS)
def test_a_variant_of_any_name_is_in_every_table(name: str) -> None:
    """On a Console that knows markup too, as somebody else's may."""
    drift = sample_drift()
    named = Drift(drift.provenance, drift.truth, tuple(replace(row, variant=name) for row in drift.variants[:1]))
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(tables(named))
    assert console.export_text().count(name) >= 2  # the verdict, and the drift by depth


@pytest.mark.parametrize("quiet", [False, True])
def test_stages_print_names_as_they_are(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with Stages(quiet=quiet) as stages:
        stages("name[/x]", "start", 0)
        stages("name[/x]", "ok", 1.5)
    assert ("name[/x]" in capsys.readouterr().err) is not quiet


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_is_drawn_on_terminals_only_and_its_text_is_no_markup(terminal: bool) -> None:
    screen = io.StringIO()
    with Bar(description(), quiet=False, console=Console(file=screen, force_terminal=terminal, width=80)) as bar:
        bar._progress.update(bar._task, description="stride[/x]", refresh=True)
    assert ("stride[/x]" in screen.getvalue()) is terminal


def test_the_search_takes_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    with SearchBar(quiet=False) as bar:
        bar("name[/x]", 1, 2)
    assert capsys.readouterr().out == ""
