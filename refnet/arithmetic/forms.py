"""The forms of layers without products: the same real numbers, evaluated with other roundings."""

from __future__ import annotations

from dataclasses import dataclass

CONSTANTS = ("inverse", "scale", "shift")
"""What may be given for a batch normalisation instead of computed, one number for each channel: 1 / sqrt(variance +
epsilon), s and t."""


@dataclass(frozen=True)
class BatchNormForm:
    """applied: what each number goes through, by the name of the form that does that alone; `none`: a kernel does it.
    joined: whether it is computed from its convolution's input, the convolution's bias being part of t.
    constants: those of CONSTANTS that it reads.
    """

    applied: str
    joined: bool = False
    constants: tuple[str, ...] = CONSTANTS


BATCH_NORM_FORMS = {
    "centred": BatchNormForm("centred", constants=("inverse", "scale")),
    "shifted": BatchNormForm("shifted"),
    "shifted-fma": BatchNormForm("shifted-fma"),
    "folded": BatchNormForm("none", joined=True),
    "sum-shifted": BatchNormForm("shifted", joined=True),
    "sum-shifted-fma": BatchNormForm("shifted-fma", joined=True),
}
SHIFTS = ("rounded", "fused")
ADDITIONS = ("outputs", "shifts-last")
"""What an addition adds: its layers' outputs; or, of those that are shifted batch normalisations, the products x s,
and the shifts t behind them."""
MEANS = ("divide", "multiply")
RELUS = {"positive": ">", "signed-zero": ">="}  # name -> how a number that stays compares with zero; a NaN stays too
