"""`python chargpt.py` trains a model that writes Shakespeare; see README.md."""

import sys

from mingpt.cli import main

if __name__ == "__main__":
    sys.exit(main())
