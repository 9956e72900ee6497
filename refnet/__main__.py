"""`python -m refnet`: the same as the command `refnet`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
