"""`imagenet` and `synthetic`, and what the cache keeps: made once, made again when spoiled, a few files at most."""

from __future__ import annotations

import ast
import importlib
import os
import stat
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from random_weights import random_tensors, random_weights

import refnet
from refnet.cache import KEPT_FILES, cache_folder, cached
from refnet.errors import InputError
from refnet.graph import Graph
from refnet.weights import exchange_file, imagenet, imagenet_file, keras_home, load_weights, read_weights, save_weights
from refnet.weights import synthetic as generator
from refnet.weights.loading import SYNTHETIC_SOURCES

imagenet_module = importlib.import_module("refnet.weights.imagenet")  # its name in the package is the function's


@pytest.fixture(autouse=True)
def keras_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreters here are stand-ins: no test depends on what is installed."""
    monkeypatch.setattr(imagenet_module, "find_spec", lambda name: True)


# --- imagenet ---------------------------------------------------------------------------------------------------


def fake_python(path: Path, lines: str) -> str:
    """A stand-in for the interpreter that would run Keras; it gets `-c CODE`."""
    path.write_text(f"#!{sys.executable}\n{lines}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def put(home: Path, include_top: bool) -> Path:
    (home / "models").mkdir(parents=True)
    weights = random_weights(include_top=include_top, classes=1000)
    return save_weights(weights, home / "models" / imagenet_file(50, include_top))


@pytest.mark.parametrize("include_top", [True, False])
def test_kerass_cache_comes_first(tmp_path: Path, include_top: bool) -> None:
    path = put(tmp_path, include_top)
    weights = load_weights("imagenet", include_top=include_top, keras_home=tmp_path)
    assert weights == random_weights(include_top=include_top, classes=1000)
    assert weights.source == str(path)


def test_file_names_are_kerass() -> None:
    assert imagenet_file(101, True) == "resnet101_weights_tf_dim_ordering_tf_kernels.h5"
    assert imagenet_file(50, False) == "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"


def test_keras_is_asked_to_download_into_its_home(tmp_path: Path) -> None:
    home, source = tmp_path / "home", put(tmp_path / "server", False)
    script = f"""
import os, shutil, sys
assert "ResNet50" in sys.argv[2] and "weights='imagenet', include_top=False" in sys.argv[2]
os.makedirs(os.environ["KERAS_HOME"] + "/models")
shutil.copy({str(source)!r}, os.environ["KERAS_HOME"] + "/models")"""
    python = fake_python(tmp_path / "python", script)
    assert imagenet(include_top=False, home=home, python=python) == random_weights(include_top=False, classes=1000)


@pytest.mark.parametrize("script", ["raise SystemExit('URL fetch failure: no network')", ""])
def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, script: str) -> None:
    with pytest.raises(InputError) as error:
        imagenet(depth=101, home=tmp_path, python=fake_python(tmp_path / "python", script))
    text = str(error.value)
    assert "no network" in text or "exit code 0" in text
    assert "resnet101_weights_tf_dim_ordering_tf_kernels.h5" in text
    assert str(tmp_path / "models") in text
    assert "synthetic" in text


@pytest.mark.parametrize(
    ("installed", "said"), [({"torch"}, "Keras is not"), ({"keras", "scipy"}, "none of its backends is")]
)
def test_a_download_needs_keras(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: set[str], said: str
) -> None:
    monkeypatch.setattr(imagenet_module, "find_spec", lambda name: name in installed or None)
    with pytest.raises(InputError, match=f"{said} installed; install keras"):
        imagenet(home=tmp_path)


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_a_download_uses_a_backend_that_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str
) -> None:
    monkeypatch.setattr(imagenet_module, "find_spec", lambda name: name in ("keras", backend) or None)
    with pytest.raises(InputError, match=f"runs on {backend}"):
        script = "import os; raise SystemExit('runs on ' + os.environ['KERAS_BACKEND'])"
        imagenet(home=tmp_path, python=fake_python(tmp_path / "python", script))


def test_without_an_interpreter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="synthetic"):
        imagenet(home=tmp_path, python=str(tmp_path / "none"))


def test_depths_that_do_not_exist(tmp_path: Path) -> None:
    for name in ("imagenet", "synthetic"):
        with pytest.raises(InputError, match="depth 18"):
            load_weights(name, depth=18, cache=tmp_path, keras_home=tmp_path)


def test_kerass_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", "/somewhere")
    assert keras_home() == Path("/somewhere")
    monkeypatch.delenv("KERAS_HOME")
    assert keras_home() == Path.home() / ".keras"


def test_a_file_is_held_against_what_was_asked(tmp_path: Path) -> None:
    path = save_weights(random_weights(include_top=False), tmp_path / "x.npz")
    assert load_weights(path) == load_weights(str(path), depth=50, include_top=False)
    with pytest.raises(InputError, match="depth 101"):
        load_weights(path, depth=101)
    with pytest.raises(InputError, match="include_top True"):
        load_weights(path, include_top=True)


# --- synthetic --------------------------------------------------------------------------------------------------


class Counting:
    """Stands in for the generator, which has tests of its own, and counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool, int]] = []

    def __call__(self, graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
        include_top = "predictions/kernel" in graph.weights
        self.calls.append((graph.name, include_top, seed))
        return random_tensors(include_top=include_top, classes=1000, seed=seed)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(generator, "synthetic_weights", counting)
    return counting


def test_synthetic_weights_are_made_once(tmp_path: Path, counting: Counting) -> None:
    first = load_weights("synthetic", include_top=False, seed=3, cache=tmp_path)
    again = load_weights("synthetic", include_top=False, seed=3, cache=tmp_path)
    assert counting.calls == [("ResNet50", False, 3)]
    assert first == again == random_weights(include_top=False, classes=1000, seed=3)
    assert first.source == again.source == "synthetic, seed 3"
    load_weights("synthetic", include_top=False, seed=4, cache=tmp_path)
    assert counting.calls[1:] == [("ResNet50", False, 4)]


@pytest.mark.parametrize("damage", ["cut", "a byte turned", "another's"])
def test_a_spoiled_file_is_made_again(tmp_path: Path, counting: Counting, damage: str) -> None:
    load_weights("synthetic", include_top=False, cache=tmp_path)
    (path,) = (tmp_path / "synthetic").iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-1000])
    elif damage == "a byte turned":
        content[-1000] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(b"hello")
    weights = load_weights("synthetic", include_top=False, cache=tmp_path)
    assert weights == random_weights(include_top=False, classes=1000)
    assert len(counting.calls) == 2


def test_the_key_covers_every_source_of_the_generator() -> None:
    """All modules of refnet that the generator imports, directly or not, but for the errors."""
    package = Path(refnet.__file__).parent
    seen, queue = set(), ["weights/synthetic.py"]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        folder = (package / name).parent
        for node in ast.walk(ast.parse((package / name).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = folder if node.level == 1 else folder.parents[node.level - 2]
            module = base.joinpath(*(node.module or "").split("."))
            candidates = [module.with_suffix(".py"), module / "__init__.py"] if node.module else []
            candidates += [module / f"{alias.name}.py" for alias in node.names]
            queue += [str(path.relative_to(package)) for path in candidates if path.is_file()]
    assert {name for name in seen if name != "errors.py" and not name.endswith("__init__.py")} == set(SYNTHETIC_SOURCES)


# --- the exchange file and the cache ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_exchange_file_is_made_once_by_content(tmp_path: Path) -> None:
    weights = random_weights(include_top=False)
    path = exchange_file(weights, tmp_path)
    assert path.parent == tmp_path / "exchange"
    assert weights.hash in path.name
    assert path.suffix == ".h5"
    assert read_weights(path) == weights
    with h5py.File(path) as file:
        assert "layer_names" in file.attrs
    inode = path.stat().st_ino
    assert exchange_file(weights, tmp_path) == path
    assert path.stat().st_ino == inode
    path.write_bytes(b"spoiled")
    assert read_weights(exchange_file(weights, tmp_path)) == weights
    assert exchange_file(random_weights(include_top=False, seed=1), tmp_path) != path


def test_the_cache_keeps_the_files_used_last(tmp_path: Path) -> None:
    def text(name: str) -> str:
        return cached(tmp_path, name, read=Path.read_text, make=lambda path: path.write_text(name))

    for age, name in enumerate(reversed(names := [f"{k}" for k in range(KEPT_FILES)])):
        assert text(name) == name
        os.utime(tmp_path / name, (time.time() - 1000 * (KEPT_FILES - age),) * 2)
    assert text(names[-1]) == names[-1]  # the oldest is used once more
    text("new")
    assert {path.name for path in tmp_path.iterdir()} == {"new", *names} - {names[-2]}


def test_the_cache_says_when_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no cache folder can be made"):
        cached(tmp_path / "file" / "sub", "x", read=Path.read_text, make=Path.touch)
    with pytest.raises(InputError, match="does not hold what was just written"):
        cached(tmp_path, "x", read=lambda path: None, make=Path.touch)


def test_what_cannot_be_kept_is_made_elsewhere(tmp_path: Path, counting: Counting) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "spare").mkdir()
    cache = tmp_path / "file" / "cache"
    weights = load_weights("synthetic", include_top=False, cache=cache)
    assert weights == random_weights(include_top=False, classes=1000)
    exchanged = exchange_file(weights, cache, otherwise=tmp_path / "spare")
    assert exchanged.parent == tmp_path / "spare" and read_weights(exchanged) == weights


def test_a_failed_make_leaves_nothing(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        path.write_text("half")
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        cached(tmp_path, "x", read=Path.read_text, make=make)
    assert not list(tmp_path.iterdir())


def test_the_cache_folder_is_the_users() -> None:
    assert "refnet" in str(cache_folder())
    assert cache_folder().is_absolute()
