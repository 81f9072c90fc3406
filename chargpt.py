"""`python chargpt.py` trains a model that writes Shakespeare; see README.md."""

import sys

from mingpt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
