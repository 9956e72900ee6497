"""The flow has one direction: no module imports from a later stage, none in a circle, and none but the child
processes imports a framework. Read from the source files, so that imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

# A stage is a module or a package directly under refnet; each may import from itself and from those before it.
STAGES = (
    "errors",
    "lazy",
    "atomic",
    "provenance",
    "cache",
    "arithmetic",
    "images",
    "graph",
    "ops",
    "kernels",
    "weights",
    "trace",
    "forward",
    "certificate",
    "backends",
    "drift",
    "verdict",
    "diagnosis",
    "reveal",
    "comparison",
    "claims",
    "testing",
    "report",
    "evidence",
    "bench",
    "cli",
)
FRONT_DOORS = ("refnet", "refnet.__main__")  # they name everything and import it only when it is asked for
FRAMEWORKS = {"keras", "tf_keras", "tensorflow", "jax", "torch", "openvino"}


def modules(project: Path) -> dict[str, Path]:
    """Dotted name -> file, with kernels/ where it is installed; a package goes by its own name."""
    found = {}
    for folder, package in (("refnet", "refnet"), ("kernels", "refnet.kernels")):
        for file in sorted((project / folder).rglob("*.py")):
            parts = file.relative_to(project / folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = file
    return found


def imported(name: str, file: Path) -> Iterator[str]:
    """Dotted names that the file imports; for `from a import b` both a and a.b, since b may be a module."""
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                start = package[: len(package) - node.level + 1] if node.level else []
                origin = ".".join([*start, *([node.module] if node.module else [])])
                yield origin
                yield from (f"{origin}.{alias.name}" for alias in node.names)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(target)), *_]):
                yield target


def import_graph(project: Path) -> dict[str, set[str]]:
    """Module -> the modules of refnet that run when it is imported.

    Importing a.b.c runs the packages a and a.b too. Those around the importing module itself run already: its own
    package's __init__ may import it.
    """
    files = modules(project)
    graph = {}
    for name, file in files.items():
        targets = {target for target in imported(name, file) if target in files}
        around = {package for target in targets for package in ancestors(target)}
        graph[name] = (targets | around) - ancestors(name) - {name}
    return graph


def ancestors(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts))}


def stage(name: str) -> str:
    return name.split(".")[1]


def backward(graph: dict[str, set[str]]) -> list[str]:
    """Imports of a later stage, as `module -> module`."""
    return [
        f"{name} -> {target}"
        for name, targets in graph.items()
        for target in targets
        if name not in FRONT_DOORS
        and target not in FRONT_DOORS
        and STAGES.index(stage(target)) > STAGES.index(stage(name))
    ]


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, or none."""
    inner = {name: targets - set(FRONT_DOORS) for name, targets in graph.items() if name not in FRONT_DOORS}
    try:
        TopologicalSorter(inner).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_module_has_a_stage(project: Path) -> None:
    assert {stage(name) for name in modules(project) if name not in FRONT_DOORS} <= set(STAGES)


def test_no_module_imports_from_a_later_stage(project: Path) -> None:
    assert backward(import_graph(project)) == []


def test_no_modules_import_each_other_in_a_circle(project: Path) -> None:
    assert cycle(import_graph(project)) == []


def test_frameworks_are_imported_in_child_processes_only(project: Path) -> None:
    importers = {
        file.relative_to(project).as_posix()
        for name, file in modules(project).items()
        if FRAMEWORKS & {target.split(".")[0] for target in imported(name, file)}
    }
    assert importers == {"refnet/backends/child.py", "refnet/bench/child.py"}


def test_kernels_are_never_imported_by_their_top_level_name(project: Path) -> None:
    for name, file in modules(project).items():
        assert not any(target.split(".")[0] == "kernels" for target in imported(name, file)), name


@pytest.mark.parametrize(
    ("files", "later", "circle"),
    [
        ({"refnet/errors.py": "", "refnet/graph/__init__.py": "from ..errors import InputError"}, [], False),
        ({"refnet/errors.py": "from . import graph", "refnet/graph/__init__.py": ""}, ["errors -> graph"], False),
        ({"refnet/images.py": "def f():\n import refnet.cli", "refnet/cli.py": ""}, ["images -> cli"], False),
        (
            {
                "refnet/ops/__init__.py": "from ..graph.a import x",
                "refnet/graph/__init__.py": "from ..ops import y",
                "refnet/graph/a.py": "",
                "refnet/ops/b.py": "",
            },
            ["graph -> ops"],
            True,
        ),
        ({"refnet/graph/a.py": "from .b import x", "refnet/graph/b.py": "from . import a"}, [], True),
        ({"kernels/a.py": "from ..cli import main", "refnet/cli.py": ""}, ["kernels.a -> cli"], False),
    ],
)
def test_the_checks_see_what_they_look_for(
    files: dict[str, str], later: list[str], circle: bool, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    graph = import_graph(tmp_path)
    assert [edge.replace("refnet.", "") for edge in backward(graph)] == later
    assert bool(cycle(graph)) is circle
