"""Faults in mingpt/experiments/ and mingpt/benchmarks/: sweeps, trials, what is measured."""

from tests.mutants.fault import Fault

SWEEP = "mingpt/experiments/sweep.py"
IDENTITY = "mingpt/experiments/identity.py"
RUNNER = "mingpt/experiments/runner.py"
SCALING = "mingpt/benchmarks/scaling.py"
DECODE = "mingpt/benchmarks/decode.py"
ALL = "mingpt/benchmarks/run_all.py"

FAULTS = [
    Fault(SWEEP, 'if letter == "," and depth == 0:', 'if letter == ",":', "a list in brackets is parted at its commas"),
    Fault(SWEEP, "if twice is not None:", "if False:", "a value may be swept twice"),
    Fault(SWEEP, "if same in seen:", "if False:", "two equal variants are compared"),
    Fault(SWEEP, "if not values:", "if False:", "a sweep of nothing runs"),
    Fault(
        SWEEP, "if key in SHARED and value != first[key]:", "if False:", "variants of a sweep may have different texts"
    ),
    Fault(
        IDENTITY,
        '"inputs": [dict(each) for each in inputs], "seed": seed}',
        '"seed": seed}',
        "a trial of another text is the same trial",
    ),
    Fault(IDENTITY, '"seed": seed}', '"seed": 0}', "trials of all seeds are one"),
    Fault(IDENTITY, "if now.get(kind) != before[kind]]", "if False]", "inputs that change meanwhile are not noticed"),
    Fault(RUNNER, "range(1, seeds + 1)", "range(1, seeds)", "an experiment has a seed too few"),
    Fault(RUNNER, "best, rates = min(losses", "best, rates = max(losses", "the worst learning rate is chosen"),
    Fault(
        "mingpt/experiments/experiment_record.py",
        "if before and (differing := changes(before, definition)):",
        "if before and (differing := []):",
        "an experiment goes on with another definition",
    ),
    Fault(
        SCALING,
        "most >> halvings for halvings in reversed(",
        "most >> halvings for halvings in (",
        "sizes of bench scaling fall",
    ),
    Fault(
        SCALING,
        "fmean(math.log(time / size**power)",
        "fmean(math.log(time * size**power)",
        "the fitted line is elsewhere",
    ),
    Fault(DECODE, "if not isinstance(module, torch.nn.Embedding)]", "]", "bytes of a step include the embedding"),
    Fault(DECODE, "kept = 2 * config.n_layer", "kept = config.n_layer", "bytes of a step without the values"),
    Fault(
        ALL,
        '1 / ratio["median"], "q1": 1 / ratio["q3"], "q3": 1 / ratio["q1"]',
        '1 / ratio["median"], "q1": 1 / ratio["q1"], "q3": 1 / ratio["q3"]',
        "quartiles of an inverse are swapped",
    ),
    Fault(
        "mingpt/benchmarks/base.py",
        "key=lambda name: seconds[name].median)",
        "key=lambda name: -seconds[name].median)",
        "the slowest is ranked first",
    ),
]
