"""Measurements of speed against other people's code and other ways, alternated in one run; one file each.

`BENCHMARKS` is looked up when first used (PEP 562): what they time needs PyTorch, what they may be told does not.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "BENCHMARKS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.registered").BENCHMARKS
