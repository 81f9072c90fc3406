"""An experiment's folder: where its trials are, and what its files hold.  Published, it is one file, record.jsonl.

record.json          question, settings of every variant, chosen learning rates, tables
cells/VARIANT/seed-1/    a run each; stage-1/, stage-2/ inside where there are stages
measurements.jsonl   rows of the measurements
report.html          the page
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired

from annotated_types import Interval
from typing_extensions import TypedDict

from mingpt.core.atomic_io import sha256
from mingpt.core.run_files.reading import Record, read_json, read_lines, readable
from mingpt.core.run_files.records import OWN_FILES, RunRecord, is_run, read_run
from mingpt.core.safe_parsing import JSON_BYTES, LARGEST_FLOAT, Count, Finite, Many, Named, require_own
from mingpt.report import record_file
from mingpt.report.record_file import MeasuredRow as MeasuredRow
from mingpt.report.record_file import Packed, is_packed

RECORD, PAGE, MEASURED = "record.json", "report.html", "measurements.jsonl"

Stage = TypedDict("Stage", {"trainer.max_iters": NotRequired[Count | None], "model.n_layer": NotRequired[Count | None]})


class Choice(TypedDict):
    """How a variant's learning rate was chosen."""

    chosen: Finite
    losses: NotRequired[Named[Finite | None]]
    decided_by: NotRequired[str]
    end_of_grid: NotRequired[str | None]


class Text(TypedDict):
    """The text of an experiment."""

    path: str
    sha256: NotRequired[str]


class ExperimentRecord(TypedDict):
    """record.json."""

    name: str
    question: NotRequired[str]
    hypothesis: NotRequired[str]
    figure: NotRequired[str | None]  # measurement whose figure answers the question
    command: NotRequired[str]
    quick: NotRequired[bool]
    fresh: NotRequired[bool]  # its trials were trained for it, whatever records there were
    seeds: NotRequired[Count]
    margin: NotRequired[Annotated[float, Interval(gt=0, le=LARGEST_FLOAT)]]  # of equivalence, nats
    text: NotRequired[Text]
    arms: NotRequired[Named[Many[Stage]]]  # variants
    measurements: NotRequired[Many[str]]
    measured: NotRequired[Many[str]]
    tables: NotRequired[Named[Many[dict[str, Any]]]]
    answer: NotRequired[str]
    hypothesis_outcome: NotRequired[str]
    smaller: NotRequired[Many[str]]
    chosen_learning_rates: NotRequired[Named[Choice]]
    hopeless: NotRequired[Named[str]]  # diverged trials
    inputs: NotRequired[Named[Many[Named[str]]]]
    trials: NotRequired[Named[str]]
    versions: NotRequired[Many[Named[str]]]


def read_record(folder: Path) -> Record:
    """The record of the experiment in `folder`; {} where there is none.

    Raises:
        CheckpointError: it is damaged, too large, or not an experiment's record.
    """
    return read_packed(folder).experiment if is_packed(folder) else read_json(folder / RECORD, ExperimentRecord)


def read_packed(folder: Path) -> Packed:
    """A published experiment.

    Raises:
        CheckpointError: as `record_file.read`.
    """
    return record_file.read(folder, ExperimentRecord)


def is_experiment(folder: Path) -> bool:
    """Whether there is an experiment in it, published or not."""
    return is_packed(folder) or (folder / RECORD).is_file()


def read_rows(folder: Path) -> list[Record]:
    """The rows of all measurements, each of which names its own; [] where there are none.

    Raises:
        CheckpointError: as `read_record`.
    """
    if is_packed(folder):
        return read_packed(folder).rows
    return read_lines(folder / MEASURED, MeasuredRow, limit=JSON_BYTES)


class GeneratedText(NamedTuple):
    """What a variant generated after a prompt, which is the text's beginning."""

    variant: str
    prompt: str
    text: str


def texts_of(folder: Path) -> list[GeneratedText]:
    """The texts among the rows of all measurements."""
    named = [[row.get(key) for key in ("arm", "prompt", "text")] for row in read_rows(folder)]
    return [GeneratedText(*map(str, each)) for each in named if all(isinstance(value, str) for value in each)]


def baselines_of(folder: Path) -> dict[str, float]:
    """N-gram losses of an experiment's text, as its last stage cut it; {} without a run."""
    return next((run.baselines for runs in runs_of(folder).values() for run in runs), {})


def runs_of(folder: Path) -> dict[str, list[RunRecord]]:
    """The last stage of every trial by its variant, in the record's order; without trials that have not begun, or have
    diverged.

    Raises:
        CheckpointError: a damaged file.
    """
    record = read_record(folder)
    found: dict[str, list[RunRecord]] = {variant: [] for variant in record.get("arms", {})}
    if is_packed(folder):
        for trial in read_packed(folder).trials:
            found.setdefault(trial["variant"], []).append(record_file.last_run(trial, folder))
    else:
        for variant, trials in trial_folders(folder, record).items():
            runs = [last_stage(trial) for trial in trials if inside(trial, folder) not in record.get("hopeless", {})]
            found.setdefault(variant, []).extend(read_run(run) for run in runs if is_run(run))
    return {variant: runs for variant, runs in found.items() if runs}


def trial_folders(folder: Path, record: Mapping[str, Any]) -> dict[str, list[Path]]:
    """The folders of the trials by their variant, in the record's order: of seeds 1 to its `seeds`; of all without.

    Raises:
        CheckpointError: as `check_links`.
    """
    check_links(folder)
    variants, seeds = list(record.get("arms", {})), record.get("seeds")
    homes = {home: variant_of(home.name, variants) for home in sorted((folder / "cells").glob("*/"))}
    places = {variant: place for place, variant in enumerate(variants)}
    return {
        homes[home]: [trial for trial in sorted(home.glob("seed-*")) if seeds is None or 1 <= _number(trial) <= seeds]
        for home in sorted(homes, key=lambda home: places.get(homes[home], len(places)))
    }


def check_links(folder: Path) -> None:
    """Reject an experiment of which a file, a run, or a file of one, is a link.

    Raises:
        CheckpointError: names the first.
    """
    trials = [*(folder / "cells").glob("*/seed-*")]
    runs = [*trials, *(stage for trial in trials for stage in trial.glob("stage-*"))]
    own = [folder / name for name in (RECORD, MEASURED, "cells")]
    for path in (*own, *runs, *(run / name for run in runs for name in OWN_FILES)):
        readable(path, lambda path: require_own(path, folder))


def _number(place: Path) -> int:
    """3 of seed-3 or stage-3; 0 of what is called otherwise."""
    name, _, number = place.name.partition("-")
    return int(number) if number.isdecimal() and place.name == f"{name}-{int(number)}" else 0


def variant_of(folder: str, variants: Sequence[str]) -> str:
    """The variant whose folder has this name, which ends in a digest where the variant's own can't be a folder's."""
    return next((each for each in variants if folder == each or folder.endswith(sha256(each.encode())[:8])), folder)


def inside(run: str | Path, folder: Path) -> str:
    """The path `run` as seen from `folder`, where it lies in there; else as it is."""
    path = Path(run)
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def last_stage(trial: Path) -> Path:
    """The run of a trial that is compared."""
    return max(trial.glob("stage-*"), key=_number, default=trial)


def smallness(record: Mapping[str, Any]) -> str:
    """`Quick form: 600 steps of a 2-layer model, 3 seeds`, or what is smaller of an experiment without runs; nothing of
    a full one, or of one whose quick form is no smaller."""
    variants = [variant for variant in record.get("arms", {}).values() if variant]
    if not record.get("arms"):
        return smallness_of("; ".join(record.get("smaller", [])), record)
    steps = _range(sum(stage.get("trainer.max_iters") or 0 for stage in variant) for variant in variants)
    layers = _range(stage.get("model.n_layer") or 0 for variant in variants for stage in variant)
    sizes = f"{steps} steps of a {layers}-layer model, {record.get('seeds', '?')} seeds" if steps and layers else ""
    return smallness_of(sizes or "small sizes, few repeats", record)


def smallness_of(smaller: str, record: Mapping[str, Any]) -> str:
    """The same of what is no run, of which `smaller` is what a quick form makes smaller, if anything."""
    return f"Quick form: {smaller}" if smaller and record.get("quick") else ""


def _range(numbers: Iterable[int]) -> str:
    """`600`, `300 to 600`; of what is not 0."""
    there = sorted({number for number in numbers if number})
    return " to ".join(f"{number:,}" for number in dict.fromkeys([there[0], there[-1]])) if there else ""
