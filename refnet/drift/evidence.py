"""What a verdict measures of each layer beside its propagated errors: names, meanings and units, said once."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from types import MappingProxyType

from .measures import Definition


def _by_name(*rows: Definition) -> Mapping[str, Definition]:
    return MappingProxyType({row.name: row for row in rows})


TOLERANCES = _by_name(
    Definition(
        "rtol", "rtol", "the least justified relative tolerance: |y - t| <= atol + rtol |t| holds for all rounding", ""
    ),
    Definition("atol", "atol", "the least justified absolute tolerance, as numpy.testing.assert_allclose takes it", ""),
    Definition("band_low", "band, low", "smallest propagated rel_l2 of refnet's own float32 orders, end to end", ""),
    Definition("band_high", "band, high", "largest propagated rel_l2 of refnet's own float32 orders, end to end", ""),
)
"""Of each layer and of the logits."""

EVIDENCE = _by_name(
    Definition(
        "local_rms",
        "local error",
        "RMS(y - e) / RMS(e), e the exact result of the layer on the backend's own inputs",
        "",
    ),
    Definition("local_max", "largest local error", "max |y - e| / RMS(e)", ""),
    Definition(
        "amplification",
        "amplification",
        "propagated rel_l2 that entered and passed through the layer (RMS(e - t) / RMS(t)) over the largest propagated "
        "rel_l2 of its inputs",
        "",
    ),
    Definition("simulated_low", "simulated, low", "smallest local_rms of the simulated orders, on the same inputs", ""),
    Definition(
        "simulated_high", "simulated, high", "largest local_rms of the simulated orders, on the same inputs", ""
    ),
    *TOLERANCES.values(),
)
"""Of each layer."""

NO_EVIDENCE: Mapping[str, float] = MappingProxyType(dict.fromkeys(EVIDENCE, nan))
