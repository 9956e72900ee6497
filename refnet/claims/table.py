"""The claims of the usual answer to "Why do ResNet models in Keras and TensorFlow Keras produce different outputs for
the same input image?", each with the experiments that it asserts and does not make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from .claim import Arm, Claim, Experiment

BACKENDS = ("tensorflow", "tf-keras", "jax", "torch", "openvino-f32", "numpy")
"""Those that compute in float32, one way each."""

WIDE = "tensorflow-float64"


def calls(variants: Sequence[str], call: str) -> tuple[Experiment, ...]:
    """The usual predict of each variant against another call of the same."""
    return tuple(Experiment(Arm(name), Arm(name, call)) for name in variants)


def pairs(first: str, *others: str) -> tuple[Experiment, ...]:
    """The usual predict of one variant against that of others."""
    return tuple(Experiment(Arm(first), Arm(other)) for other in others)


CLAIMS: Mapping[str, Claim] = MappingProxyType(
    {
        claim.name: claim
        for claim in (
            Claim(
                "standalone-keras",
                "Standalone Keras (Keras 3) and tf.keras (Keras 2) differ",
                pairs("tensorflow", "tf-keras"),
            ),
            Claim(
                "backend",
                "The backend matters",
                pairs("tensorflow", "jax", "torch", "numpy", "openvino-f32", "openvino"),
            ),
            Claim(
                "input-dtype",
                "A float64 picture gives other results than a float32 one",
                (
                    *calls((*BACKENDS, WIDE), "float64"),
                    Experiment(Arm(WIDE, "wide"), Arm(WIDE, "wide-float64")),
                ),
                {"same": "Keras casts the picture to the type of the model's input first."},
            ),
            Claim(
                "dtype-policy",
                "The dtype policy matters",
                (
                    *pairs("tensorflow", "tensorflow-float64", "tensorflow-mixed-bfloat16"),
                    *pairs("torch", "torch-mixed-bfloat16", "torch-mixed-float16"),
                ),
            ),
            Claim(
                "seed",
                "Random seeds matter at inference",
                calls(BACKENDS, "seed"),
                {"same": "Inference draws no random number."},
            ),
            Claim("run-to-run", "Results change from run to run", calls(BACKENDS, "again")),
            Claim("fresh-model", "A model made and loaded afresh differs", calls(BACKENDS, "fresh")),
            Claim(
                "threads",
                "The number of threads matters",
                tuple(
                    Experiment(Arm(name), Arm(f"{name}-threads-1")) for name in ("tensorflow", "jax", "torch", "numpy")
                ),
            ),
            Claim("batch", "The batch size matters", calls(BACKENDS, "eight")),
            Claim("blas", "The BLAS library's kernels matter", pairs("numpy", "numpy-haswell", "numpy-nehalem")),
            Claim(
                "onednn",
                "oneDNN matters",
                (*pairs("tensorflow", "tensorflow-onednn-off"), *pairs("torch", "torch-onednn-off")),
            ),
            Claim(
                "instruction-set",
                "The CPU's instruction set matters",
                (*pairs("tensorflow", "tensorflow-avx2"), *pairs("torch", "torch-avx2")),
            ),
            Claim("xla", "XLA matters", pairs("tensorflow-function", "tensorflow-xla")),
            Claim(
                "eager",
                "Eager and compiled models differ",
                (
                    *pairs("tensorflow", "tensorflow-eager"),
                    *pairs("jax", "jax-eager"),
                    *pairs("torch", "torch-compile"),
                ),
            ),
            Claim("call", "model(x) and model.predict(x) differ", calls(("tensorflow", "torch"), "called")),
        )
    }
)
"""Name -> claim, in the order in which the table shows them."""
