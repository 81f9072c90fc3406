"""`python -m mingpt VERB ...` is `chargpt VERB ...`."""

import sys

from mingpt.cli import main

if __name__ == "__main__":
    sys.exit(main())
