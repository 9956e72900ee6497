"""The project as others receive it: what an install holds, what it costs to import, what the Makefile would do."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import refnet
from refnet.backends import VARIANTS

FRAMEWORKS = {"keras", "tf_keras", "tensorflow", "jax", "torch", "openvino"}
SLOW_TO_IMPORT = {"pandas", "matplotlib", "h5py", "PIL", "typer", "rich"}


@pytest.fixture(scope="module")
def configuration(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def copy(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files, so that building leaves nothing behind in the project itself."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, folder)
    for name in ("refnet", "kernels"):
        shutil.copytree(project / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def wheel(copy: Path) -> Path:
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", copy / "dist", copy)
    (found,) = (copy / "dist").glob("*.whl")
    return found


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def python(code: str, *, executable: Path = Path(sys.executable), folder: Path, **environment: str) -> str:
    """What the code prints, run in a fresh process that starts in `folder`."""
    done = subprocess.run(
        [executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- installs ---------------------------------------------------------------------------------------------------------


def test_every_package_on_disk_is_listed(project: Path, configuration: dict[str, Any]) -> None:
    on_disk = {
        ".".join((name, *init.parent.relative_to(project / folder).parts))
        for folder, name in (("refnet", "refnet"), ("kernels", "refnet.kernels"))
        for init in (project / folder).rglob("__init__.py")
    }
    assert set(configuration["tool"]["setuptools"]["packages"]) == on_disk


def test_wheel_holds_every_file_and_no_top_level_kernels(copy: Path, wheel: Path) -> None:
    expected = {
        f"{target}/{file.relative_to(copy / folder).as_posix()}"
        for folder, target in (("refnet", "refnet"), ("kernels", "refnet/kernels"))
        for file in (copy / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert held == expected


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_kernels_are_found_inside_refnet_only(
    editable: bool, copy: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In a new environment, which sees the packages that refnet needs but not the refnet installed beside them."""
    venv.create(tmp_path / "venv", with_pip=False)
    executable = tmp_path / "venv" / "bin" / "python"
    scheme = {"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")}
    site = Path(sysconfig.get_path("purelib", vars=scheme))
    package = ["--editable", copy] if editable else [request.getfixturevalue("wheel")]
    pip("install", "--no-deps", "--no-build-isolation", "--target", site, *package)

    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # a path, whose own .pth files are not read

    code = """import importlib.util, refnet.kernels
print(refnet.__file__, refnet.kernels.__file__, importlib.util.find_spec("kernels"), sep="\\n")"""
    shown = python(code, executable=executable, folder=tmp_path).splitlines()
    sources = (copy / "refnet", copy / "kernels") if editable else (site / "refnet", site / "refnet" / "kernels")
    assert shown == [*(str(source / "__init__.py") for source in sources), "None"]


def test_version_is_the_one_of_the_wheel(wheel: Path) -> None:
    assert wheel.name.startswith(f"refnet-{refnet.__version__}-")


# --- public names -----------------------------------------------------------------------------------------------------


def names_for_type_checkers() -> dict[str, str]:
    """Name -> module it comes from, of the imports under `if TYPE_CHECKING:` in refnet/__init__.py."""
    tree = ast.parse(Path(refnet.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert all(alias.asname == alias.name for node in imports for alias in node.names)
    return {alias.name: node.module or alias.name for node in imports for alias in node.names}


def test_type_checkers_and_python_see_the_same_names() -> None:
    modules = {name: name for name, home in names_for_type_checkers().items() if name == home}
    assert names_for_type_checkers() == modules | refnet._HOME
    assert {"__version__", *names_for_type_checkers()} == set(refnet.__all__)


@pytest.mark.parametrize("name", refnet.__all__)
def test_each_public_name_is_there_and_remembered(name: str) -> None:
    value = getattr(refnet, name)
    assert vars(refnet)[name] is value
    assert name in dir(refnet)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = refnet.no_such_name


def test_import_brings_in_nothing_else(tmp_path: Path) -> None:
    """No framework, nor anything else that takes time; so the cost is that of one small file."""
    loaded = set(python("import sys, refnet; print(*sys.modules)", folder=tmp_path).split())
    assert not loaded & (FRAMEWORKS | SLOW_TO_IMPORT | {"numpy", "numba"})


def test_the_oracle_needs_no_framework(tmp_path: Path) -> None:
    code = "import sys, refnet; [getattr(refnet, name) for name in refnet.__all__]; print(*sys.modules)"
    assert not set(python(code, folder=tmp_path).split()) & (FRAMEWORKS | {"matplotlib", "typer"})


def test_import_takes_under_half_a_second_more_than_numpy_and_numba(tmp_path: Path) -> None:
    """Within one process, and the best of three: what remains is not the machine's mood."""
    code = "import numpy, numba, time; t = time.perf_counter(); import refnet; print(time.perf_counter() - t)"
    assert min(float(python(code, folder=tmp_path)) for _ in range(3)) < 0.5


# --- requirements and the Makefile ------------------------------------------------------------------------------------


def constraints(project: Path) -> dict[str, Requirement]:
    lines = (project / "constraints.txt").read_text().split()
    return {canonical(requirement.name): requirement for requirement in map(Requirement, lines)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_pin_what_is_asked_for_and_name_no_address(project: Path, configuration: dict[str, Any]) -> None:
    pinned = constraints(project)
    versions = {name: str(requirement.specifier).removeprefix("==") for name, requirement in pinned.items()}
    extras = configuration["project"]["optional-dependencies"].values()
    asked = [Requirement(text) for group in (configuration["project"]["dependencies"], *extras) for text in group]
    for requirement in asked:
        if requirement.name != "refnet":
            assert requirement.specifier.contains(versions[canonical(requirement.name)]), requirement
    assert versions["torch"] == "2.13.0"
    assert not any(requirement.url for requirement in pinned.values())


def test_each_variant_has_an_extra_with_which_its_name_begins(configuration: dict[str, Any], project: Path) -> None:
    """By that the Makefile knows what to install for it."""
    extras = configuration["project"]["optional-dependencies"]
    listed = re.search(r"^BACKENDS := (.*)$", (project / "Makefile").read_text(), re.MULTILINE)
    assert listed is not None
    assert listed[1].split() == list(dict.fromkeys(variant.extra for variant in VARIANTS.values()))
    for name, variant in VARIANTS.items():
        assert [extra for extra in listed[1].split() if f"{name}-".startswith(f"{extra}-")] == [variant.extra]
    assert set(listed[1].split()) <= set(extras)
    assert set(Requirement(extras["all"][0]).extras) == set(extras) - {"all", "test"}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, though these tests may run under `make test` themselves."""
    environment = {name: value for name, value in os.environ.items() if not re.match("MAKE|MFLAGS", name)}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_make_drift_installs_and_runs_only_the_chosen_variants(project: Path, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(project / name, tmp_path)
    command = ("--dry-run", "drift", "VARIANTS=jax-eager tensorflow jax")
    plan = make(tmp_path, *command).stdout
    assert '-c constraints.txt -e ".[tensorflow,jax]"' in plan
    assert "refnet drift --weights synthetic --variants jax-eager,tensorflow,jax --json drift.json" in plan
    everything = make(tmp_path, "--dry-run", "drift").stdout
    assert '-e ".[tensorflow,tf-keras,jax,torch,openvino,numpy]"' in everything
    assert "--variants default" in everything

    for stamp in (".venv/bin/python", ".venv/installed/tensorflow,jax"):  # as the first call leaves them
        (tmp_path / stamp).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stamp).touch()
    again = make(tmp_path, *command).stdout
    assert [line.split()[:2] for line in again.splitlines()] == [[".venv/bin/refnet", "drift"]]


def test_make_refuses_an_old_python(project: Path, tmp_path: Path) -> None:
    """One that says it is 3.10: the message names what to do, and no environment is made."""
    shutil.copy(project / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(project / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10); $2"\n')
    old.chmod(0o755)
    done = make(tmp_path, "drift", f"PYTHON={old}")
    assert done.returncode != 0
    assert "Python 3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()
