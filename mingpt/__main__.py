"""`python -m mingpt VERB ...` is `chargpt VERB ...`."""

import sys

from mingpt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
