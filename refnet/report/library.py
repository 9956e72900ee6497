"""The charts' library as one script, which takes seconds to put together and so is kept in the cache folder."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from ..cache import cache_folder, cached
from ..errors import InputError

SNIPPET = "window.vegaEmbed = vegaEmbed;"
MADE_BY = "vl-convert-python"


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed, fit to stand in a script element."""
    with TemporaryDirectory(prefix="refnet-") as folder:
        name = f"{MADE_BY}-{version(MADE_BY)}.js"
        try:
            bundle = cached(cache_folder() / "charts", name, read=_read, make=_make, otherwise=Path(folder))
        except InputError:  # such as a full disk: a report must not fail for its cache
            bundle = _bundle()
    return bundle.replace("</script", "<\\/script")


def _bundle() -> str:
    from vl_convert import javascript_bundle  # slow to import

    return javascript_bundle(SNIPPET)


def _make(path: Path) -> None:
    text = _bundle()
    path.write_text(f"{_seal(text)}\n{text}", encoding="utf-8", newline="")


def _read(path: Path) -> str | None:
    """None for a file that cannot be read, or is not as it was written."""
    try:
        seal, _, text = path.read_bytes().decode("utf-8", "replace").partition("\n")
    except OSError:
        return None
    return text if seal == _seal(text) else None


def _seal(text: str) -> str:
    """Of what was asked for and what came."""
    return f"// {sha256(f'{SNIPPET}{text}'.encode()).hexdigest()}"
