"""The charts' library as one script, which takes seconds to put together and so is kept in the cache folder."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from ..cache import cache_folder, cached

SNIPPET = "window.vegaEmbed = vegaEmbed;"
MADE_BY = "vl-convert-python"
SEAL = "// sha256 of what follows: "


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed, fit to stand in a script element."""
    with TemporaryDirectory(prefix="refnet-") as folder:
        name = f"{MADE_BY}-{version(MADE_BY)}.js"
        return cached(cache_folder() / "charts", name, read=_read, make=_make, otherwise=Path(folder))


def _make(path: Path) -> None:
    from vl_convert import javascript_bundle  # slow to import

    text = javascript_bundle(SNIPPET).replace("</script", "<\\/script")
    path.write_text(f"{SEAL}{_digest(text)}\n{text}", encoding="utf-8", newline="")


def _read(path: Path) -> str | None:
    """None for a file that is not as it was written."""
    seal, _, text = path.read_bytes().decode("utf-8", "replace").partition("\n")
    return text if seal == SEAL + _digest(text) else None


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8")).hexdigest()
