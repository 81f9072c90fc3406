"""Audit every variant of every family of this project over 20 seeds: `python -m tests.interop.audit.own_families`.

Prints a line per family, and every failure, which would be a false alarm.
"""

import sys
import time
from collections import Counter
from typing import Any

import torch

from mingpt.interop.audit.auditing import audit
from mingpt.models.base import LanguageModel
from tests.laws.families import VARIANTS, Variant

SEEDS = 20


def made(variant: Variant, seed: int = 0, **settings: Any) -> LanguageModel:
    """A model of other random weights for each seed, all large where the family stands it."""
    model = variant.exact(block_size=19, **settings)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters() if variant.of.large else ():
            parameter.normal_(0, variant.of.large)
    return model


def main(seeds: int = SEEDS) -> int:
    """Audit all, and return 1 if any fails."""
    audits: Counter[str] = Counter()
    failures = 0
    for name, variant in VARIANTS.items():
        began = time.perf_counter()
        for seed in range(seeds):
            report = audit(made(variant, seed))
            audits[variant.family] += 1
            if not report.passed:
                failures += 1
                print(f"{name}, seed {seed}: {report}")
        print(f"{name}: {seeds} seeds, {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{failures} failures; audits: {', '.join(f'{count} {family}' for family, count in audits.items())}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
