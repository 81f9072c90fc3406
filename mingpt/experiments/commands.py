"""`chargpt experiment`: from its arguments to an exit code; its output is logged."""

import itertools
import logging
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mingpt.core.errors import require
from mingpt.core.run_files.reading import Record
from mingpt.core.run_files.records import HOME
from mingpt.core.signals import EXIT_CODES
from mingpt.data.text_files import STDIN, given_as
from mingpt.distributed.threads import usable_threads
from mingpt.experiments import budget
from mingpt.experiments.arguments import (
    RunOptions,
    ShowOptions,
    answered,
    publish_options,
    run_options,
    settings_alone,
    show_options,
)
from mingpt.experiments.base import FORMS, FULL, QUICK, STANDARD, Experiment, Settings
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.drawings import draw, drawing, palette, tables
from mingpt.experiments.executor import Outcome
from mingpt.experiments.runner import ExperimentOptions, Summarize, carry_out
from mingpt.experiments.summarize import Show
from mingpt.report import index, page, pictures
from mingpt.report.drawing import Drawing
from mingpt.report.experiment_files import PAGE, read_packed, read_record
from mingpt.report.formatting import counted
from mingpt.report.index import RESULTS
from mingpt.report.publish import HAND_WRITTEN, publish, rewrite, shorter, unfinished
from mingpt.report.record_file import write

logger = logging.getLogger(__name__)
TRIALS = RESULTS / "trials"  # records of finished trials, committed with the project


def experiment(words: Sequence[str], program: str, summarize: Summarize, compared: Show) -> int:
    """Run `chargpt experiment list`, `run NAME`, `show NAME` or `publish [NAME ...]`; return the exit code.

    Args:
        summarize: writes statistics and page of what was run.
        compared: prints a comparison.
    """
    answer = answered(program, words)
    if answer is not None:
        logger.info(answer)
        return 0
    action, rest = words[0], list(words[1:])
    if action == "publish":
        return _publish(rest, program)
    chosen = EXPERIMENTS[rest[0]]
    if action == "show":
        form = _form(show_options(program, rest[1:]))
        logger.info(show(chosen, form))
        for line in budget.lines(chosen, form, TRIALS):
            logger.info(line)
        return _show_result(chosen, form, compared)
    return _run(chosen, settings_alone(rest[1:]), words, program, summarize)


def _run(chosen: Experiment, given: Sequence[str], words: Sequence[str], program: str, summarize: Summarize) -> int:
    flags = run_options(program, given)
    form = _form(flags)
    folder, kept = folder_of(chosen, form), list(given)
    if flags.data == STDIN:  # can be read once only
        kept = [*without("--data", given), f"--data={folder / 'text.txt'}"]
    options = ExperimentOptions(
        folder=folder,
        command=shlex.join([*program.split(), "experiment", *words]),
        again=shlex.join([*program.split(), "experiment", "run", chosen.name, *without("--fresh", kept)]),
        data=flags.data or chosen.form(form).data,
        seeds=flags.seeds,
        form=form,
        jobs=flags.jobs or (usable_threads() if form == STANDARD else 1),
        idle=form == STANDARD,
        trials_only=flags.trials_only,
        kept=None if form == QUICK else TRIALS,
        fresh=flags.fresh,
    )
    if form == QUICK:
        logger.info("quick form: to try that everything works; its results answer nothing and can't be published")
    with given_as("data"):
        return ended(carry_out(chosen, options, summarize=summarize), options)


def _form(options: RunOptions | ShowOptions) -> str:
    return QUICK if options.quick else FULL if options.full else STANDARD


def show(experiment: Experiment, form: str) -> str:
    """Question, hypothesis, variants, and what its folder holds by now."""
    folder = folder_of(experiment, form)
    seeds = experiment.seeds_of(form)
    lines = [experiment.question, f"expected: {experiment.hypothesis}", ""]
    for variant, stages in experiment.stages(form).items():
        steps = " + ".join(_steps_of(each) for each in stages)
        lines.append(f"  {variant}: {steps}, {seeds} seeds")
    lines += [f"  measured: {each.name}" for each in experiment.measurements]
    forms = [RESULTS / folder_of(experiment, each).name / "README.md" for each in dict.fromkeys((form, *FORMS))]
    lines += ["", *(f"published: {kept}" for kept in forms if kept.is_file())]
    if not read_record(folder):
        return "\n".join([*lines, f"no page yet; it will lie in {folder}"])
    return "\n".join([*lines, f"page: {folder / PAGE}; figures:", *(f"  {path}" for path in pictures.pictures(folder))])


def _show_result(experiment: Experiment, form: str, compared: Show) -> int:
    """Print the result, from the experiment's folder or else from what was published of it."""
    folder = folder_of(experiment, form)
    there = next((each for each in (folder, RESULTS / folder.name) if read_record(each)), None)
    if there is None:
        return 0
    logger.info(f"\nresult, from {there}:")
    result, tables_ = page.compared(there), page.measurements(there)
    compared(result, tables_)
    if not result and not tables_:
        logger.info("no trial is finished yet")
    return 0


def _steps_of(stage: Settings) -> str:
    made = f"{stage['trainer.max_iters']} steps" if "trainer.max_iters" in stage else "fitted once"
    return f"{made} at block {stage['data.block_size']}"


def _publish(words: Sequence[str], program: str) -> int:
    """The named experiments, or all that are finished; and everything that is made from results/.

    A quick form is never published: it is no answer.
    """
    names, options = publish_options(program, words)
    texts = {name: getattr(options, name) for name in HAND_WRITTEN}
    for name, text in texts.items():
        require(text is None or len(names) == 1, name, text, "must be of one experiment, named")
    given = any(text is not None for text in texts.values())
    require(given or not options.text_only, "text_only", True, "needs answer or hypothesis_outcome")
    wanted, published = (FULL,) if options.full else (STANDARD,) if names else (STANDARD, FULL), 0
    for experiment, form in itertools.product([EXPERIMENTS[name] for name in names or EXPERIMENTS], wanted):
        folder, target = folder_of(experiment, form), RESULTS / folder_of(experiment, form).name
        why = None if options.text_only else unfinished(folder)
        other = [] if options.text_only or why else renamed(experiment, read_record(folder))
        why = f"its variants {', '.join(other)} have other names by now; run it again" if other else why
        require(not (names and other), "NAME", experiment.name, why or "")
        if options.text_only:
            rewrite(target, texts)
        elif names or not why:
            kept = publish(folder, target, texts)
            logger.info(f"{folder} -> {target}")
            if kept:
                logger.warning(
                    f"{target}: its numbers are new, but {' and '.join(kept)} as before; write again what no longer "
                    f"holds: `{program} experiment publish {experiment.name} --text_only --{kept[0]}=...`"
                )
        elif folder.exists():
            logger.info(f"left out: {folder}: {why}")
        published += names != [] or not why
    if not published:
        logger.info(
            f"nothing to publish: no finished experiment in {HOME / 'experiments'}; "
            f"`{program} experiment run NAME` runs one"
        )
    redraw(RESULTS)
    for path in index.write(RESULTS):
        logger.info(str(path))
    return 0


def drawings(folder: Path) -> dict[str, Drawing]:
    """The figures of the measurements of the experiment in `folder`, by name; {} of one that is not known here."""
    name = str(read_record(folder).get("name", ""))
    measurements = EXPERIMENTS[name].measurements if name in EXPERIMENTS else ()
    look = palette(measurements, folder)
    found = {each.name: drawing(each, folder, look) for each in measurements}
    return {name: drawn for name, drawn in found.items() if drawn}


def redraw(results: Path) -> None:
    """Write the figures and tables of all measurements in `results` again, from their rows.

    An experiment whose variants have other names by now keeps those that it has, since today's code may look for rows
    by name.
    """
    for folder in index.published(results):
        packed = read_packed(folder)
        if packed.experiment["name"] not in EXPERIMENTS:
            continue
        experiment = EXPERIMENTS[packed.experiment["name"]]
        other = renamed(experiment, packed.experiment)
        if other:
            logger.info(
                f"{folder}: figures and tables of measurements stay, since it has no variant {', '.join(other)}"
            )
            continue
        measurements = experiment.measurements
        look = palette(measurements, folder)
        for measurement in measurements:
            draw(measurement, folder, look)
        made = shorter(tables(measurements, folder)["tables"])
        made = {**packed.experiment.get("tables", {}), **made}  # one that is measured no longer keeps its own
        now = {**packed.experiment, "figure": experiment.figure, "tables": made}
        write(folder, replace(packed, experiment=now))


def renamed(experiment: Experiment, record: Record) -> list[str]:
    """Variants in a record that no form of the experiment has today."""
    known = {variant for form in FORMS for variant in experiment.variants_of(form)}
    return [variant for variant in record.get("arms", {}) if variant not in known]


def folder_of(experiment: Experiment, form: str) -> Path:
    """Return the folder of an experiment's form."""
    return HOME / "experiments" / f"{experiment.name}{'' if form == STANDARD else f'-{form}'}"


def without(name: str, flags: Sequence[str]) -> list[str]:
    """Return `flags`, each with its value, without those of this name."""
    return [flag for flag in flags if flag.partition("=")[0] != name]


def ended(outcome: Outcome, options: ExperimentOptions) -> int:
    """Return the exit code of an experiment; log what failed, and how to resume what was stopped."""
    if outcome.stopped:
        logger.info(f"stopped by {outcome.stopped}; resume with: {options.again or options.command}")
        return EXIT_CODES[outcome.stopped]
    for trial, (_, why) in outcome.failed.items():
        logger.warning(f"{trial.name} failed: {why}")
    if outcome.failed:
        logger.warning(f"{counted(len(outcome.failed), 'trial')} failed; their logs are in {options.folder / 'logs'}")
    return 1 if outcome.failed else 0
