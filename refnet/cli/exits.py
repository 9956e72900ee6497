"""Exit codes of the command line (docs/drift.md, docs/certificate.md)."""

OK = 0
FAILED = 1  # what --fail-on, --baseline or --check asks for does not hold, or evidence is not as expected
BAD_INPUT = 2
NOT_RUN = 3
INTERRUPTED = 130
