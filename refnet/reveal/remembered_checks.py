"""Checks of kept profiles that were made a short while ago: what was found then need not be asked again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..errors import InputError

SCHEMA = 1
KIND = "refnet profile check"
VALID = timedelta(days=1)
BOOT = Path("/proc/sys/kernel/random/boot_id")  # of Linux: another one after each start of the machine


def remember(profile: Path, how: str) -> None:
    """Writes beside a kept profile that it holds now. how: by what that was seen.

    A folder that cannot be written stays without: then it is seen again next time.
    """
    record = {"schema": SCHEMA, "kind": KIND, "how": how, "time": _now().isoformat(timespec="seconds")}
    path = _record(profile)
    with contextlib.suppress(OSError, InputError):  # another process may remove the profile at any time
        record |= _of(profile)
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def is_remembered(profile: Path) -> bool:
    """Whether this very file was seen to hold since the machine was started, and within the last day.

    The file's name has all that an order may depend on (kept_profiles), so that another version, processor, variable
    or number of threads is another file.
    """
    try:
        record: dict[str, Any] = json.loads(_record(profile).read_text(encoding="utf-8"))
        since = _now() - datetime.fromisoformat(record["time"])
        alike = {name: record[name] for name in ("schema", "kind", "profile", "boot")}
        return timedelta(0) <= since < VALID and alike == {"schema": SCHEMA, "kind": KIND, **_of(profile)}
    except (OSError, ValueError, KeyError, TypeError):
        return False  # there is none, or it is spoiled


def forget_check(profile: Path) -> None:
    """Removes what `remember` wrote, if it is there; it would tell nothing of another file."""
    with contextlib.suppress(OSError):
        _record(profile).unlink()


def _record(profile: Path) -> Path:
    return profile.parent / "checked" / profile.name


def _of(profile: Path) -> dict[str, str]:
    """The file's hash, and this run of the machine; "" where the system does not name it."""
    boot = BOOT.read_text(encoding="ascii").strip() if BOOT.is_file() else ""
    return {"profile": hashlib.sha256(profile.read_bytes()).hexdigest(), "boot": boot}


def _now() -> datetime:
    return datetime.now(UTC)
