"""Exit codes of the command line (docs/drift.md, docs/certificate.md)."""

OK = 0
FAILED = 1  # what was asked for with --fail-on or --check
BAD_INPUT = 2
NOT_RUN = 3
INTERRUPTED = 130
