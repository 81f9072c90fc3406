"""`python test_model.py` runs the quick tests, in a process per core, and exits with their status.

Further arguments go to pytest: `-n 0` runs in this process alone, `-m slow` the long tests, `-k WORD` some.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).parent
NEEDED = (
    "pytest",
    "hypothesis",
    "einops",
    "jsonargparse",
    "matplotlib",
    "numpy",
    "rich",
    "safetensors",
    "torch",
    "xdist",
    "yaml",
)
ALONE = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}  # of each process; PyTorch reads them when imported
WORKERS = ("-n", "auto", "--dist=loadfile")  # a file's tests stay together, as they share what its fixtures trained


def main() -> int:
    """Run pytest on tests/, or say in one line what is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"error: {', '.join(missing)} not installed: run `pip install -r requirements-dev.txt`", file=sys.stderr)
        return 1
    for name, value in ALONE.items():
        os.environ.setdefault(name, value)
    import pytest

    own = (f"--rootdir={HOME}", f"--config-file={HOME / 'pyproject.toml'}", *WORKERS)
    return int(pytest.main([*own, *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
