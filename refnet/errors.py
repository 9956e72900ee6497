"""What refnet raises: one clear sentence that says what was found, what was expected and what to do."""


class RefnetError(Exception):
    """Any failure that refnet foresees; its text is one line that a user can act on."""


class InputError(RefnetError, ValueError):
    """Something given to refnet is wrong.

    The text is `found; expected ...; do ...`, each part a phrase. Parts that say nothing are left out.
    """

    def __init__(self, found: str, *, expected: str = "", do: str = "") -> None:
        self.found, self.expected, self.do = found, expected, do
        parts = [found, expected and f"expected {expected}", do]
        super().__init__("; ".join(part for part in parts if part))


class VariantError(RefnetError):
    """A backend variant could not run; the text is the reason that its row in the report shows.

    status: how it went: missing, failed, timeout or killed.
    """

    def __init__(self, reason: str, *, status: str = "failed") -> None:
        self.status = status
        super().__init__(reason)
