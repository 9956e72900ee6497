"""The profiles that a drift or a comparison uses: those that are kept for this environment, or files that are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..backends import Variant
from ..errors import InputError
from ..weights import Weights
from .checking import explained_by
from .kept_profiles import known_profile
from .profile import Profile
from .replaying import Difference, constants_of

if TYPE_CHECKING:  # it brings pandas, which is slow to import
    from ..drift import VariantDrift

KEPT, NONE = "kept", "none"


def profiles_for(
    variants: Sequence[Variant],
    weights: Weights,
    size: tuple[int, int],
    *,
    threads: int | None = None,
    which: str = KEPT,
) -> list[Profile]:
    """Profiles of these variants, for pictures of that size; no backend is started and nothing revealed.

    which: KEPT, those in refnet's cache for this environment; NONE; or files that refnet reveal wrote, `a.json,b.json`.
    Raises InputError for a file that holds no profile, or one of another variant, network, size, number of threads or
    weights.
    """
    if which == NONE:
        return []
    if which == KEPT:
        kept = (known_profile(variant, weights, size, threads=threads) for variant in variants)
        return [profile for profile in kept if profile is not None]
    by_name = {variant.name: variant for variant in variants}
    found = [Profile.load(Path(file)) for file in which.split(",")]
    for profile in found:
        if profile.variant not in by_name:
            raise InputError(f"a profile of {profile.variant}", expected=f"one of {', '.join(by_name)}")
        constants_of(profile, by_name[profile.variant], weights, size)
        check_threads(profile, by_name[profile.variant], threads)
    return found


def check_threads(profile: Profile, variant: Variant, threads: int | None) -> None:
    """The backend will run on as many threads as when it was revealed, or InputError: orders depend on them."""
    wanted = variant.threads or threads
    if profile.threads != wanted:
        found, asked = (f"{number or 'its own choice of'} threads" for number in (profile.threads, wanted))
        raise InputError(
            f"a profile of {profile.variant} on {found}",
            expected=f"one on {asked}, which the backend will run on",
            do=f"say --threads {profile.threads}" if profile.threads else "leave --threads out",
        )


def lost_in(profile: Profile, found: Sequence[Difference]) -> str | None:
    """The first layer that differs from the backend's, if the profile says that it explains it; else None.

    found: all layers of the replay, in the order of the graph: what the first one that differs reads is equal.
    """
    first = next((each.layer for each in found if each.bits), None)
    return first if first in explained_by(profile) else None


def remarks_on(profile: Profile, row: VariantDrift, weights: Weights) -> list[str]:
    """What its user should know of a profile, by the verdicts on its variant; nothing if it holds, or none was run."""
    if not row.ran:
        return []
    again = command_of(profile.variant, profile.size, profile.threads)
    unread = set(profile.given) if profile.given and weights.hash not in profile.constants else set()
    narrow = {layer for layer, entry in profile.layers.items() if entry.get("precision", "float32") != "float32"}
    claimed = explained_by(profile) - unread - narrow  # verdicts hold layers in float32 alone against one order
    broken = [layer for layer, verdict in row.verdicts.items() if layer in claimed and verdict.kind != "identical"]
    remarks = []
    if unread:
        what = f"the profile of {profile.variant} lacks the constants of these weights"
        remarks.append(f"{what}, so {len(unread)} layers were not held against it; {again} --weights ... reads them")
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        remarks.append(
            f"the profile of {profile.variant} does not give its bits in {broken[0]}{more}: either numbers there are "
            f"subnormal, or it no longer holds, and {again} makes a new one"
        )
    return remarks


def command_of(variant: str, size: tuple[int, int], threads: int | None) -> str:
    """What a user runs to have a profile that is kept for runs like this one."""
    options = f" --size {size[0]}" if size != (224, 224) else ""
    return f"refnet reveal --variants {variant} --all{options}" + (f" --threads {threads}" if threads else "")
