"""Exit codes of the command line (docs/drift.md)."""

OK = 0
BAD_INPUT = 2
NOT_RUN = 3
INTERRUPTED = 130
