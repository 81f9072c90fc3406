"""Commands of `chargpt` that compare or measure: runs, experiments, sweeps, benchmarks; as in commands.py."""

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mingpt.cli.options import SelftestOptions
from mingpt.core.log_output import messages, to_stderr, to_stdout
from mingpt.core.shell import program
from mingpt.core.streams import lasting

if TYPE_CHECKING:
    from mingpt.report.drawing import Drawing


def compare(argv: Sequence[str]) -> int:
    """compare runs, over their seeds, in a table with significance tests"""
    from mingpt.cli import compare as comparing

    return comparing.compare(argv)


@messages(to_stderr)
def report(argv: Sequence[str]) -> int:
    """write one HTML page about runs or an experiment"""
    from mingpt.cli import compare as comparing

    def defaults() -> dict[str, Any]:
        from mingpt.runs import config

        return config.defaults()

    def drawings_of(folder: Path) -> dict[str, "Drawing"]:
        from mingpt.experiments.commands import drawings

        return drawings(folder)

    return comparing.report(argv, defaults, drawings_of)


@lasting()
@messages(to_stdout, "mingpt.experiments", "mingpt.data")
def sweep(argv: Sequence[str]) -> int:
    """train every combination of settings, and compare"""
    from mingpt.experiments import arguments
    from mingpt.experiments import sweep as grid

    arguments.sweep_options(program(), argv)
    wanted = grid.experiment_of(arguments.own_words(argv)[1])  # before PyTorch is imported

    from mingpt.cli import compare as comparing
    from mingpt.experiments import summarize, sweep_command

    end = partial(summarize.summarize, show=comparing.show_experiment)
    return sweep_command.command(argv, program(), end, wanted)


@lasting()
@messages(to_stdout, "mingpt.experiments", "mingpt.data")
def experiment(argv: Sequence[str]) -> int:
    """answer a prepared question with a grid of runs: list, show, run, publish"""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # as for `bench`
    from mingpt.experiments import arguments

    answer = arguments.answered(program(), argv)  # before PyTorch is imported
    if answer is not None:
        print(answer)
        return 0

    from mingpt.cli import compare as comparing
    from mingpt.experiments import commands, summarize

    end = partial(summarize.summarize, show=comparing.show_experiment)
    return commands.experiment(argv, program(), end, comparing.show_experiment)


@messages(to_stdout, "mingpt.benchmarks")
def bench(argv: Sequence[str]) -> int:
    """time a training step (without a name), or run the benchmark NAME"""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else PyTorch's profiler writes between the lines of a table
    from mingpt.benchmarks import BENCHMARKS
    from mingpt.benchmarks.benchmark import listing
    from mingpt.core.config_cli import options_of

    named = bool(argv) and not argv[0].startswith("-")
    if not named and {"--help", "-h"} & set(argv):
        print(listing(f"{program()} bench"))
        return 0
    name, rest = (argv[0], argv[1:]) if named else ("train", argv)
    chosen = BENCHMARKS[name]
    options: Any = options_of(f"chargpt bench {name}", chosen.about, chosen.options, rest)
    result = chosen.run(options)
    print(json.dumps(result))
    return 1 if result.get("failed") else 0


@messages(to_stdout)
def selftest(argv: Sequence[str]) -> int:
    """check every attention kernel on this machine"""
    from mingpt.core.config_cli import options_of

    options = options_of("chargpt selftest", "Check all kernels.", SelftestOptions, argv)

    from mingpt.benchmarks import selftest

    return 0 if selftest.check_all(options.device, every=options.every, kernel=options.kernel) else 1
