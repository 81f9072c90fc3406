"""`python -m mingpt COMMAND ...` is `chargpt COMMAND ...`."""

import sys

from mingpt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
