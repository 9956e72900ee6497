"""The doctor measures what a backend computes in and takes nothing on trust; what does not answer is a row too."""

from __future__ import annotations

import io
import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from rich.console import Console

from refnet.backends import VARIANTS, Variant
from refnet.backends.doctor import AS_THEY_COME, OPTIONAL, Checkup, Examination, check_up, examine, format_of
from refnet.backends.probe import CHANNELS, HUGE, measured
from refnet.backends.traps import VARIABLES, traps_of, traps_of_machine
from refnet.cli.doctor import exit_code
from refnet.errors import InputError
from refnet.provenance import ENVIRONMENT
from refnet.report.doctor import doctor_tables

REAL = ("jax", "torch", "openvino", "openvino-f32")


def tf32(x: np.ndarray) -> np.ndarray:
    """To 10 fraction bits, to nearest even: adding and taking away 3 * 2^12 times its power of two leaves no more."""
    large = 3 * 2.0**41 * 2.0 ** np.floor(np.log2(x))  # in float64, whose 52 fraction bits then end where TF32's do
    return (x + large) - large


ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float64": lambda x: x,
    "float32": lambda x: x.astype(np.float32),
    "tf32": tf32,
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16),
    "float16": lambda x: x.astype(np.float16),
    "3 fraction bits": lambda x: x.astype(ml_dtypes.float8_e4m3),
}


@pytest.mark.parametrize("name", ROUNDINGS)
def test_a_format_is_known_by_what_it_does_to_operands(name: str) -> None:
    """The probe's products, made with a rounding that is not refnet's."""
    ladder = 1 + 2.0 ** -np.arange(1, CHANNELS + 1)
    with np.errstate(over="ignore"):
        output = np.stack([ROUNDINGS[name](row).astype(np.float64) for row in (ladder, HUGE * ladder)])
    assert format_of(measured(output)) == name


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkup]:
    keras_json = tmp_path_factory.mktemp("home") / "keras.json"
    found = examine(REAL, environment={}, keras_json=keras_json)
    return {row.variant: row for row in found.checkups}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", REAL)
def test_a_real_backend_says_what_it_runs_as(name: str, real: dict[str, Checkup], tmp_path: Path) -> None:
    row = real[name]
    if row.status == "missing":
        pytest.skip(row.reason)
    assert row.ran, row.reason
    assert row.facts["packages"]["keras"]
    assert row.facts["devices"]
    assert set(row.facts["computes"]) == {"convolution", "dense"}
    hint = row.facts.get("inference_precision")
    expected = {"bf16": "bfloat16", "f16": "float16"}.get(str(hint), "float32")
    assert set(row.facts["computes"].values()) == {expected}, "what is measured is what the backend says of itself"
    assert any("bfloat16" in line for line in row.traps) == (expected == "bfloat16")
    assert "/tmp" not in json.dumps(dict(row.facts)), "a path of this machine leaked"


@pytest.mark.exhaustive
def test_openvino_is_caught_keeping_old_weights_and_torch_is_not(real: dict[str, Checkup]) -> None:
    for name, keeps in (("openvino-f32", True), ("torch", False), ("jax", False)):
        if real[name].ran:
            assert real[name].facts["keeps_first_weights"] is keeps
            assert any("weights of its first call" in line for line in real[name].traps) is keeps


def ill(name: str, **changes: object) -> Variant:
    return replace(VARIANTS["jax"], name=name, **{"modules": ("json",), **changes})


def checked(variant: Variant, timeout: float = 60) -> Checkup:
    return check_up(variant, timeout=timeout, progress=lambda name, stage, seconds: None)


def test_what_is_not_installed_says_how_to_get_it() -> None:
    row = checked(ill("absent", modules=("no_such_module",)))
    assert (row.status, row.reason) == ("missing", 'no_such_module is not installed; pip install "refnet[jax]"')


def test_a_backend_that_hangs_dies_or_raises_is_a_row_with_its_reason(tmp_path: Path) -> None:
    """A module of the user's own that Python loads at its start does the damage."""
    damage = {
        "killed": ("import os; os.kill(os.getpid(), 9)", r"killed by signal 9 (out of memory?)"),
        "failed": ("import sys; sys.modules['keras'] = None", "import of keras halted"),
        "timeout": ("import time; time.sleep(60)", "no answer within 2 s"),
    }
    for status, (code, reason) in damage.items():
        folder = tmp_path / status
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(f"import os\nif 'REFNET_ILL' in os.environ:\n    {code}\n")
        environment = {"REFNET_ILL": "1", "PYTHONPATH": str(folder), "KERAS_BACKEND": "jax"}
        row = checked(ill(status, environment=environment), timeout=2 if status == "timeout" else 60)
        assert row.status == status
        assert reason in row.reason
        assert not row.facts


def facts(**changes: object) -> dict[str, object]:
    usual = {
        "backend": "torch",
        "dtype_policy": "float32",
        "computes": {"convolution": "float32", "dense": "float32"},
        "keeps_first_weights": False,
    }
    return usual | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"computes": {"convolution": "tf32", "dense": "float32"}}, "TF32 is on"),
        ({"computes": {"convolution": "bfloat16", "dense": "bfloat16"}}, "computes in bfloat16"),
        ({"computes": {"convolution": "float16", "dense": "float16"}}, "computes in float16"),
        ({"computes": {"convolution": "bfloat16", "dense": "bfloat16"}, "dtype_policy": "mixed_bfloat16"}, None),
        ({"computes": {"convolution": "float64", "dense": "float64"}, "dtype_policy": "float64"}, None),
        (
            {"backend": "openvino", "computes": {"convolution": "bfloat16"}, "inference_precision": "bf16"},
            "inference precision hint is bf16",
        ),
        ({"keeps_first_weights": True}, "weights of its first call"),
    ],
)
def test_traps_are_what_nobody_asked_for(changes: dict[str, object], said: str | None) -> None:
    lines = traps_of(facts(**changes))
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]


@pytest.mark.parametrize(
    "variable", ["KERAS_BACKEND", "OMP_NUM_THREADS", "TF_ENABLE_ONEDNN_OPTS", "NVIDIA_TF32_OVERRIDE"]
)
def test_a_variable_that_changes_bits_is_told(variable: str, tmp_path: Path) -> None:
    (line,) = traps_of_machine({variable: "7", "HOME": "x"}, tmp_path / "keras.json")
    assert line.startswith(f"{variable}=7 is set: ")


def test_every_pattern_with_an_explanation_is_one_that_provenance_records() -> None:
    example = {"*_NUM_THREADS": "OMP_NUM_THREADS", "*NPROC": "PJRT_NPROC", "TORCH_ALLOW_TF32_*": "TORCH_ALLOW_TF32_X"}
    for row in VARIABLES:
        name = example.get(row.pattern, row.pattern)
        (line,) = traps_of_machine({name: "1"}, Path("nowhere/keras.json"))
        assert row.effect in line, (row.pattern, ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"floatx": "float32", "epsilon": 1e-7, "backend": "jax", "image_data_format": "channels_last"}', []),
        ('{"floatx": "float16"}', ["floatx 'float16'"]),
        ('{"image_data_format": "channels_first", "floatx": "float64"}', ["floatx", "channels_first"]),
        ("not json", ["cannot be read"]),
        ("[]", ["no settings"]),
    ],
)
def test_odd_settings_of_keras_json_are_told(text: str, said: list[str], tmp_path: Path) -> None:
    path = tmp_path / "keras.json"
    path.write_text(text)
    lines = traps_of_machine({}, path)
    assert len(lines) == len(said)
    assert all(word in line for word, line in zip(said, lines, strict=True))


def test_the_doctor_asks_what_exists(project: Path) -> None:
    assert set(AS_THEY_COME) <= set(VARIANTS)
    extras = tomllib.loads((project / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, (extra, _) in OPTIONAL.items():
        assert any(module in requirement for requirement in extras[extra])


@pytest.mark.parametrize(
    ("statuses", "named", "code"),
    [(["ok"], True, 0), (["ok", "missing"], False, 0), (["ok", "missing"], True, 3), (["killed"], False, 3)],
)
def test_exit_codes(statuses: list[str], named: bool, code: int) -> None:
    assert exit_code(examination(statuses), named=named) == code


def examination(statuses: list[str]) -> Examination:
    about = {"cpu": {"model": "X", "cores": 2}, "python": "3.11", "packages": {"refnet": "0"}}
    told = facts(backend="torch", packages={"torch": "2"}, devices=["cpu"], keeps_first_weights=True)
    rows = [
        Checkup(
            f"v{place}",
            status,
            "" if status == "ok" else "why",
            1.0,
            told if status == "ok" else {},
            traps_of(told) if status == "ok" else (),
        )
        for place, status in enumerate(statuses)
    ]
    return Examination(about, tuple(rows), ("OMP_NUM_THREADS=1 is set: x",), {"torch": 'pip install "refnet[torch]"'})


def test_the_table_fits_80_columns_and_tells_a_shared_trap_once() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(doctor_tables(examination(["ok", "ok", "missing"])))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "v0, v1: predict keeps the weights" in text
    assert "v2: missing, why" in text
    assert 'pip install "refnet[torch]"' in text


@pytest.mark.parametrize("broken", [{"status": "well"}, {"status": "failed"}, {"status": "ok", "facts": {}}])
def test_a_checkup_checks_itself(broken: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Checkup(**{"variant": "torch", "status": "ok", "facts": facts()} | {"facts": {}} | broken)  # type: ignore[arg-type]


def test_the_command_refuses_what_it_cannot_write_or_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from refnet.cli import main

    assert main(["doctor", "--json", str(tmp_path / "no" / "x.json")]) == 2
    assert main(["doctor", "--variants", "nonsense"]) == 2
    assert main(["doctor", "--variants", ","]) == 2
    assert capsys.readouterr().err.count("\n") == 3
