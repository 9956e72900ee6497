"""The program: its commands, and how anything that goes wrong becomes one line and an exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

import typer

from .. import __version__
from ..errors import RefnetError
from .bench import bench
from .certify import certify
from .claims import claims
from .compare import compare
from .diagnose import diagnose
from .doctor import doctor
from .drift import drift
from .evidence import evidence
from .exits import BAD_INPUT, INTERRUPTED, OK
from .predict import predict
from .replay import replay
from .report import report
from .reveal import reveal
from .screen import complain
from .termination import interrupted_when_told_to_end
from .weights import weights

app = typer.Typer(
    name="refnet",
    help="A reference ResNet50 in any number format and order, and the drift of Keras backends from it.",
    epilog="Exit codes: 0 fine, 1 what was asked for does not hold, 2 bad input, 3 a variant could not run, "
    "130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(predict)
app.command()(certify)
app.command()(drift)
app.command()(compare)
app.command()(claims)
app.command()(doctor)
app.command()(evidence)
app.command()(report)
app.command()(diagnose)
app.command()(reveal)
app.command()(replay)
app.command()(bench)
app.add_typer(weights, name="weights")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"refnet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Without arguments it is `--help`. Nothing foreseen ends in a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        with interrupted_when_told_to_end(), warnings.catch_warnings():
            warnings.showwarning = _warn
            return app(given, prog_name="refnet", standalone_mode=False) or OK
    except typer.TyperException as error:
        complain(f"{error.format_message().rstrip('.')}; see refnet --help")
    except RefnetError as error:
        complain(str(error))
    except OSError as error:
        complain(f"{error.filename or 'a file'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return BAD_INPUT


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """In place of warnings.showwarning: what a user can act on, without the place in the source."""
    complain(f"warning: {message}")
