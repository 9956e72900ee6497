"""The table of variants: laws that every entry obeys, and files of the user's own, read or refused in one line."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from refnet.backends import VARIANTS, Variant, read_variants, select
from refnet.backends.child import CONFIGURE
from refnet.backends.variant import SETTINGS
from refnet.backends.variants import GROUPS, parse
from refnet.errors import InputError

AS_IT_COMES = ("tensorflow", "tf-keras", "jax", "torch", "openvino", "numpy")
SWITCHES = (  # what issue and users blame, for each backend that has it
    *("tensorflow-eager", "tensorflow-function", "tensorflow-xla", "tensorflow-onednn-off", "tensorflow-avx2"),
    *("jax-eager", "jax-precision-highest", "jax-precision-bfloat16", "torch-channels-first", "torch-onednn-off"),
    *("torch-compile", "torch-avx2", "openvino-f32", "numpy-haswell", "numpy-nehalem"),
    *(f"{backend}-{switch}" for backend in AS_IT_COMES for switch in ("threads-1", "batch-8")),
    *(f"{b}-{p}" for b in ("tensorflow", "jax", "torch") for p in ("float64", "mixed-bfloat16", "mixed-float16")),
    *(f"{b}-gpu-{p}" for b in ("tensorflow", "jax", "torch") for p in ("tf32", "f32")),
)
SIMPLE = '[mine]\nmodules = ["json"]\nextra = "torch"\n'


def test_the_table_has_every_switch() -> None:
    assert set(AS_IT_COMES + SWITCHES) <= set(VARIANTS)


def test_the_default_set_is_small_and_holds_every_backend_as_it_comes() -> None:
    default = [variant.name for variant in select(["default"])]
    assert len(default) <= 12
    assert set(AS_IT_COMES) <= set(default)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_name_begins_with_its_extra_and_a_description_is_one_line(variant: Variant) -> None:
    assert variant.name == variant.extra or variant.name.startswith(f"{variant.extra}-")
    assert variant.extra in AS_IT_COMES
    assert variant.description
    assert "\n" not in variant.description


def test_no_two_variants_are_the_same_switch() -> None:
    """As long as they ask for nothing different, two rows would measure the same thing."""
    asked = [
        (v.framework, v.environment, v.settings, v.compile, v.dtype_policy, v.data_format, v.threads, v.batch_size)
        for v in VARIANTS.values()
    ]
    assert all(asked.count(one) == 1 for one in asked)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in AS_IT_COMES])
def test_each_switch_can_be_checked(name: str) -> None:
    """What a variant changes beside its backend as it comes is among what read_result compares, environment too."""
    variant, plain = VARIANTS[name], VARIANTS[VARIANTS[name].extra]
    compared = ("environment", "settings", "compile", "dtype_policy", "data_format", "threads", "batch_size", "expect")
    assert any(getattr(variant, field) != getattr(plain, field) for field in compared)


def test_settings_are_what_the_child_takes() -> None:
    for backend, configure in CONFIGURE.items():
        assert ("threads", *SETTINGS[backend]) == tuple(inspect.signature(configure).parameters)


def test_a_file_adds_to_the_table(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[mine]\nlike = "torch-avx2"\ndescription = "with one thread"\nthreads = 1\nenvironment = { A = "b" }\n'
        '[mine-8]\nlike = "mine"\nbatch_size = 8\ndefault = true\n'
    )
    table = read_variants(file)
    assert list(table) == [*VARIANTS, "mine", "mine-8"]
    assert table["mine"].environment == {**VARIANTS["torch-avx2"].environment, "A": "b"}
    assert table["mine"].expect == VARIANTS["torch-avx2"].expect
    assert (table["mine-8"].threads, table["mine-8"].batch_size, table["mine-8"].description) == (1, 8, "")
    assert table["mine-8"] in select(["default"], table)
    assert select(["mine"], table) == (table["mine"],)
    with pytest.raises(InputError, match="variant 'mine'"):
        select(["mine"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mine", "is no TOML"),
        ('mine = "torch"', "mine = 'torch'; expected a table"),
        ("[mine]\n", "mine has no modules and no extra"),
        (SIMPLE + "colour = 1", "mine has the key 'colour'"),
        (SIMPLE + 'name = "other"', "mine has the key 'name'"),
        (SIMPLE + 'batch_size = "8"', "batch_size of mine is '8'; expected a whole number from 1 to 1024"),
        (SIMPLE + "batch_size = 0", "batch_size of mine is 0"),
        (SIMPLE + "threads = true", "threads of mine is True"),
        (SIMPLE + "default = 1", "default of mine is 1; expected true or false"),
        (SIMPLE + "environment = { A = 1 }", "environment of mine"),
        (SIMPLE + 'environment = "A=1"', "environment of mine"),
        (SIMPLE + 'needs = ["luck"]', "needs of mine has 'luck'; expected of gpu, compiler"),
        (SIMPLE + "settings = { onednn = false }", "settings of mine has 'onednn'; expected of none"),
        (SIMPLE + 'dtype_policy = "int8"', "dtype_policy of mine has 'int8'"),
        ('[mine]\nlike = "nothing"', "mine is like 'nothing'"),
        ('[mine]\nlike = ["torch"]', "mine is like"),
        (
            '[mine]\nlike = "jax"\nsettings = { onednn = false }',
            "settings of mine has 'onednn'; expected of inference_",
        ),
        ('[mine]\nlike = "torch"\nenvironment = ["A"]', "environment of mine"),
        ('["Mine!"]\nlike = "torch"', "variant name 'Mine!'"),
        ('[torch]\nlike = "torch"', "the name torch is taken"),
        ('[all]\nlike = "torch"', "the name all is taken"),
        ('[refnet-float32]\nlike = "torch"', "the name refnet-float32 is taken"),
        ('["torch.log"]\nlike = "torch"', "variant name 'torch.log'"),
        ('["torch.json"]\nlike = "torch"', "variant name 'torch.json'"),
        ('["weights.h5"]\nlike = "torch"', "variant name 'weights.h5'"),
        ('["a\\nb"]\nlike = "torch"', r"variant name 'a\nb'"),
        (SIMPLE + '"a\\nb" = 1', r"mine has the key 'a\nb'"),
        (f"a = {'[' * 2000}{']' * 2000}", "is no TOML: "),
        (f"a = {'[' * 100}{']' * 100}", "a = [[[[[["),
        (f"mine{'.a' * 2000} = 1", "mine has the key 'a'"),
        (SIMPLE + f"batch_size = {'9' * 5000}", "is no TOML: "),
        (SIMPLE + f"batch_size = 0x{'f' * 5000}", "batch_size of mine is a very large int"),
        (SIMPLE + "batch_size = 10_000_000_000_000", "batch_size of mine is 10000000000000"),
        (SIMPLE + "threads = 1025", "threads of mine is 1025; expected a whole number from 1 to 1024"),
        (SIMPLE + 'environment = { "" = "1" }', "environment of mine is {'': '1'}"),
        (SIMPLE + 'environment = { "A=B" = "1" }', "environment of mine is {'A=B': '1'}"),
        (SIMPLE + 'environment = { A = "\\u0000" }', "environment of mine is {'A': "),
        (SIMPLE + 'environment = { KERAS_BACKEND = "theano" }', "KERAS_BACKEND of mine has 'theano'; expected of tens"),
        ('[mine]\nlike = "torch"\nsettings = { onednn = "x" }', "onednn of mine is 'x'; expected true or false"),
        ('[mine]\nlike = "jax"\nsettings = { inference_precision = true }', "inference_precision of mine is True"),
        *(
            (f'[mine]\nlike = "torch"\nmodules = ["{name}"]', f"modules of mine is ('{name}',)")
            for name in ("nope.sub", "a..b", ".x", "", "a b")
        ),
    ],
)
def test_a_wrong_file_is_one_line_that_names_file_and_entry(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_variants(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_module_without_a_file_and_a_dot_before_a_digit_are_fine() -> None:
    variant = parse('["torch-2.13"]\nmodules = ["__main__", "sys", "no_such_module"]\nextra = "torch"', "here")[
        "torch-2.13"
    ]
    assert variant.missing_modules == ("no_such_module",)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.toml"):
        read_variants(file)


def test_the_packaged_file_is_what_parse_gives(project: Path) -> None:
    text = (project / "refnet" / "backends" / "variants.toml").read_text()
    assert parse(text, "here") == dict(VARIANTS)
    assert list(tomllib.loads(text)) == list(VARIANTS)
    assert not set(GROUPS) & set(VARIANTS)
