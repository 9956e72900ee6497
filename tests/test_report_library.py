"""The charts' library is put together once, and never taken from a file that is not as it was written."""

from __future__ import annotations

import pytest
import vl_convert

from refnet.errors import InputError
from refnet.report import library

BUNDLE = "window.vegaEmbed = vegaEmbed; // </script>"


@pytest.fixture
def made(monkeypatch, tmp_path):
    """What vl_convert was asked for, in an empty cache folder."""
    asked = []
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: asked.append(snippet) or BUNDLE)
    monkeypatch.setattr(library, "cache_folder", lambda: tmp_path / "cache")
    return asked


def text() -> str:
    return library.library.__wrapped__()  # as another process would ask


def test_it_is_kept_and_fit_for_a_script_element(made, tmp_path):
    assert text() == text() == BUNDLE.replace("</script", "<\\/script")
    assert len(made) == 1 and len(list((tmp_path / "cache" / "charts").iterdir())) == 1


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b + b" ", lambda b: b"", lambda b: b"\xff" + b])
def test_a_spoiled_file_is_made_again(spoil, made, tmp_path):
    whole = text()
    (file,) = (tmp_path / "cache" / "charts").iterdir()
    good = file.read_bytes()
    file.write_bytes(spoil(good))
    assert text() == whole and file.read_bytes() == good and len(made) == 2


def test_a_full_disk_is_no_error(made, monkeypatch):
    def full(*_, **__):
        raise InputError("cannot be written: no space left")

    monkeypatch.setattr(library, "cached", full)
    assert text() == BUNDLE.replace("</script", "<\\/script")


def test_another_snippet_is_another_file(made, monkeypatch):
    text()
    monkeypatch.setattr(library, "SNIPPET", "other")
    text()
    assert len(made) == 2 and made[1] == "other"


def test_a_cache_that_cannot_be_written_is_no_error(made, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert text() == text() and len(made) == 2
