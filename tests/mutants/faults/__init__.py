"""All faults, by the folder of the package that they are in."""

from importlib import import_module
from pathlib import Path

from tests.mutants.fault import Fault

FAULTS: list[Fault] = [
    fault
    for path in sorted(Path(__file__).parent.glob("[!_]*.py"))
    for fault in import_module(f"{__name__}.{path.stem}").FAULTS
]
