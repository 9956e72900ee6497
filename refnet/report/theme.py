"""The look of a report's figures: colours for paper and for dark screens, and what all charts share.

Charts name their colours as CSS variables, so that a page that turns dark, or is printed, needs no second drawing.
"""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "raised": "#f5f6f8",
    "ink": "#1b1f24",
    "soft": "#57606a",
    "rule": "#d8dde3",
    "band": "#9aa7b5",
    "link": "#0a5ea8",
    "identical": "#0b6e4f",
    "rounding": "#0a5ea8",
    "reduced": "#8f5400",
    "undecided": "#5b5f66",
    "mismatch": "#b3261e",
    "unjudged": "#5b5f66",
    "absent": "#5b5f66",
    **dict(zip("abcdef", ("#0072b2", "#c44e00", "#008a63", "#b3478c", "#2b95cf", "#a87400"), strict=True)),
    **{
        f"heat{i}": colour
        for i, colour in enumerate(
            ("#eef3f7", "#d3e0ea", "#b5cbdc", "#f6dfa8", "#f0b35c", "#dd7a26", "#a83c0c", "#5c1500")
        )
    },
    "exact": "#fbfcfd",
}
DARK: Mapping[str, str] = {
    "paper": "#14171b",
    "raised": "#1d2127",
    "ink": "#e8eaed",
    "soft": "#a3acb6",
    "rule": "#363d46",
    "band": "#6b7886",
    "link": "#7cbcf2",
    "identical": "#5fd0a6",
    "rounding": "#7cbcf2",
    "reduced": "#f0b35c",
    "undecided": "#b4bac1",
    "mismatch": "#ff8a80",
    "unjudged": "#b4bac1",
    "absent": "#b4bac1",
    **dict(zip("abcdef", ("#55aae6", "#ff8a4d", "#38c79c", "#e58fc4", "#9bd5f5", "#eec04f"), strict=True)),
    **{
        f"heat{i}": colour
        for i, colour in enumerate(
            ("#22303c", "#2d4558", "#3b5f7c", "#7a5a1c", "#b07818", "#dc9326", "#f7b75a", "#ffe6b8")
        )
    },
    "exact": "#191d22",
}
SERIES = tuple("abcdef")
"""Colours of lines, told apart with any colour vision; after them the same again in the next dash."""
DASHES: tuple[tuple[str, list[int]], ...] = (
    ("solid", []),
    ("dashed", [7, 3]),
    ("dotted", [2, 2]),
    ("double", [9, 2, 2, 2]),
)
"""CSS border style of the legend -> dash of the line."""


def css(colours: Mapping[str, str]) -> str:
    """Declarations of the colours as CSS variables."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())
