"""`python test_model.py` runs the quick tests and exits with their status; further arguments go to pytest."""

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
    "yaml",
)


def main() -> int:
    """Run pytest on tests/, or say in one line what is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"error: {', '.join(missing)} not installed: run `pip install -r requirements-dev.txt`", file=sys.stderr)
        return 1
    import pytest

    return int(pytest.main([f"--rootdir={HOME}", f"--config-file={HOME / 'pyproject.toml'}", *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
