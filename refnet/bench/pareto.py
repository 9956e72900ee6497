"""The points that no other point beats."""

from __future__ import annotations

from collections.abc import Mapping

Point = tuple[float, float]


def dominates(first: Point, second: Point) -> bool:
    """Whether `first` is no larger in both coordinates and smaller in one."""
    return first != second and first[0] <= second[0] and first[1] <= second[1]


def front(points: Mapping[str, Point]) -> list[str]:
    """The names whose points none dominates, by the first coordinate and then the second."""
    kept: list[str] = []
    for name in sorted(points, key=points.__getitem__):
        if not kept or points[name] == points[kept[-1]] or points[name][1] < points[kept[-1]][1]:
            kept.append(name)
    return kept
