"""Runs into variants, of equal settings but for the seed and what can't change a loss; what can't be compared is
rejected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mingpt.core.errors import DataError, UsageError
from mingpt.core.run_files.records import FIRST_STAGE, STARTS_FROM, RunRecord, is_run, read_run, settings_of
from mingpt.core.setting_roles import EVALUATION, SEED, changes_no_result

FAMILY = "model.type"
LONGEST_NAME = 40  # characters of a variant's name, so that a table and a legend have room for it
PIPED = {"-": "standard input"}  # what a run calls its text, and what people do
OTHER_STARTS = (
    "some runs began from the weights of others, so there is no comparison at equal seconds or FLOPs, nor of steps"
)
MACHINE = ("device", "device_name", "threads")


@dataclass(frozen=True)
class Group:
    """The runs of one variant."""

    name: str
    runs: list[RunRecord]
    settings: dict[str, Any]


def read_runs(given: Iterable[str | Path | RunRecord]) -> list[RunRecord]:
    """Read each folder once, however often and by whatever path it is named; what is read already stays as it is.

    A run that is older than a setting had that setting's default, which newer runs of its family have recorded.
    """
    by_place = {_place(each): each for each in given}
    runs = [each if isinstance(each, RunRecord) else read_run(Path(each)) for each in by_place.values()]
    defaults: dict[Any, dict[str, Any]] = {}
    for run in runs:
        defaults.setdefault(run.settings.get(FAMILY), {}).update(run.environment.get("defaults", {}))
    return [replace(run, settings={**defaults[run.settings.get(FAMILY)], **run.settings}) for run in runs]


def read_named(given: Mapping[str, Iterable[str | Path | RunRecord]]) -> dict[str, list[RunRecord]]:
    """Read the runs of each variant, all as `read_runs` reads them together."""
    places = {name: {_place(each): each for each in runs} for name, runs in given.items()}
    read = read_runs(each for own in places.values() for each in own.values())
    by_place = {_place(run): run for run in read}
    return {name: [by_place[place] for place in own] for name, own in places.items()}


def _place(run: str | Path | RunRecord) -> Path:
    return (run.folder if isinstance(run, RunRecord) else Path(run)).resolve()


def usable(records: Sequence[RunRecord], keep_going: bool) -> tuple[list[RunRecord], list[tuple[str, str]]]:
    """Finished runs, and the others with their reasons.

    Raises:
        UsageError: some are unfinished and `keep_going` is not said, or none is left.
    """
    left_out = [(str(run.folder), run.trouble) for run in records if run.trouble]
    used = [run for run in records if not run.trouble]
    listed = "; ".join(f"{folder}: {why}" for folder, why in left_out)
    if left_out and not keep_going:
        raise UsageError(f"{listed}; finish or leave out what can't be compared")
    if not used:
        raise UsageError(f"nothing to compare: {listed or 'no run was named'}")
    return used, left_out


def require_one_text(runs: Sequence[RunRecord]) -> None:
    """Reject runs whose validation losses are of different texts.

    Raises:
        DataError: names two such runs.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.environment.get("text_sha256") != first.environment.get("text_sha256"):
            own, other = (str(each.environment.get("text", "unknown")) for each in (run, first))
            raise DataError(
                f"{run.folder}: was trained on another text ({PIPED.get(own, own)}) than {first.folder} "
                f"({PIPED.get(other, other)}); their losses can't be compared"
            )
        for key, usual in (("data.val_fraction", None), ("data.test_fraction", 0.0)):
            ours, theirs = (each.settings.get(key, usual) for each in (run, first))
            if ours != theirs:
                raise DataError(f"{run.folder}: {key}={ours}, but {theirs} in {first.folder}: another validation set")


def require_different_seeds(groups: Sequence[Group]) -> None:
    """Reject a variant that has a seed twice: equal runs would pass for independent ones.

    Raises:
        UsageError: names the two runs.
    """
    for group in groups:
        seen: dict[int, RunRecord] = {}
        for run in group.runs:
            if run.seed in seen:
                raise UsageError(
                    f"{run.folder}: has the settings and the seed of {seen[run.seed].folder}; a repeated run is no "
                    "independent one, so leave one out"
                )
            seen[run.seed] = run


def variant_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a variant: without seed, folders, cadences; with those of the stage whose weights it starts from."""
    kept = {key: value for key, value in settings.items() if _makes_variant(key.split(FIRST_STAGE)[-1])}
    start = kept.get(STARTS_FROM)
    if any(key.startswith(FIRST_STAGE) for key in kept):  # of a published run
        kept.pop(STARTS_FROM, None)
    elif start and is_run(Path(start)):
        del kept[STARTS_FROM]
        kept |= {f"{FIRST_STAGE}{k}": v for k, v in variant_settings(settings_of(Path(start))).items()}
    return kept


def _makes_variant(key: str) -> bool:
    return key not in (SEED, "data.path", *EVALUATION) and not changes_no_result(key)


def by_settings(runs: Sequence[RunRecord]) -> list[Group]:
    """Runs of the same settings together, in the order in which their first was named."""
    found: list[tuple[dict[str, Any], list[RunRecord]]] = []
    for run in runs:
        own = variant_settings(run.settings)
        members = next((there for settings, there in found if not differing([settings, own])), None)
        if members is None:
            found.append((own, [run]))
        else:
            members.append(run)
    unlike = differing([settings for settings, _ in found])
    named = names_of([text_of(settings, unlike) for settings, _ in found])
    names = [name or runs[0].folder.resolve().name for name, (_, runs) in zip(named, found, strict=True)]
    return [Group(name, runs, settings) for name, (settings, runs) in zip(names, found, strict=True)]


def grouped(named: Mapping[str, Sequence[RunRecord]], used: Sequence[RunRecord]) -> list[Group]:
    kept = {name: [run for run in runs if run in used] for name, runs in named.items()}
    return [Group(name, runs, variant_settings(runs[0].settings)) for name, runs in kept.items() if runs]


def differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the settings in which some of these differ: their values in each, null where one has none.

    A setting that only one family of models has makes no difference to another's.
    """
    known: dict[Any, set[str]] = {}
    for each in settings:
        known.setdefault(each.get(FAMILY), set()).update(each)
    found: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for each in settings for key in each):
        own = [each.get(key) for each in settings if key in known[each.get(FAMILY)]]
        if any(value != own[0] for value in own):
            found[key] = [each.get(key) for each in settings]
    return found


def shown_of(differing: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return those of `differing` that are shown: where some variants have no first stage and the others the
    same one, its steps and blocks stand for it."""
    steps, blocks = (f"{FIRST_STAGE}{key}" for key in ("trainer.max_iters", "data.block_size"))
    staged = [value is not None for value in differing.get(steps, ())]

    def tells(key: str, values: Sequence[Any]) -> bool:
        own = {str(value) for value, has in zip(values, staged, strict=False) if has}
        return not key.startswith(FIRST_STAGE) or all(staged) or key in (steps, blocks) or len(own) > 1

    return {key: values for key, values in differing.items() if tells(key, values)}


def text_of(settings: Mapping[str, Any], differing: Iterable[str]) -> dict[str, str]:
    """Return what differs, as far as the run's family has it."""
    return {key: str(settings[key]) for key in differing if key in settings}


def names_of(variants: Sequence[Mapping[str, str]]) -> list[str]:
    """`model.type=rnn model.cell=gru` for each variant's settings, no two equal.

    Where one would be longer than LONGEST_NAME, all go without their groups; where one still is, all have just as many
    settings as differ between all of them, and the number of those left out: `type=rnn cell=gru +2`.
    """
    short = without_groups(dict.fromkeys(key for each in variants for key in each))
    full = [" ".join(f"{key}={value}" for key, value in each.items()) for each in variants]
    bare = [" ".join(f"{short[key]}={value}" for key, value in each.items()) for each in variants]
    for names in (full, bare):
        if max(map(len, names), default=0) <= LONGEST_NAME:
            return names
    telling = _telling(variants)
    return [
        " ".join(
            [
                *(f"{short[key]}={each[key]}" for key in telling if key in each),
                *([f"+{left}"] if (left := len(each.keys() - set(telling))) else []),
            ]
        )
        for each in variants
    ]


def without_groups(keys: Iterable[str]) -> dict[str, str]:
    """`model.rope` -> `rope`, but as they are where two would become one."""
    last = {key: key.rpartition(".")[2] for key in keys}
    names = [*last.values()]
    return {key: name if names.count(name) == 1 else key for key, name in last.items()}


def _telling(variants: Sequence[Mapping[str, str]]) -> list[str]:
    """Few settings, words before numbers, in which any two variants differ and of which each variant has one."""
    keys = list(dict.fromkeys(key for each in variants for key in each))
    keys.sort(key=lambda key: any(each.get(key, "")[:1].isdigit() for each in variants))
    chosen: list[str] = []

    def parted(by: Sequence[str]) -> int:
        return len({tuple(each.get(key) for key in by) for each in variants})

    while parted(chosen) < parted(keys):
        chosen.append(max(keys, key=lambda key: parted([*chosen, key])))
    while nameless := [each for each in variants if each and not each.keys() & {*chosen}]:
        chosen.append(max(keys, key=lambda key: sum(key in each for each in nameless)))
    return [key for key in keys if key in chosen]


def notes(runs: Sequence[RunRecord], per_byte: bool) -> list[str]:
    notes = []
    if per_byte:
        notes.append("vocabularies differ, so losses are nats per byte, and n-gram baselines are left out")
    if any("val_loss" not in run.last for run in runs):
        notes.append("runs without a validation loss see the tokens that they predict, or were not evaluated")
    if any(run.settings.get(STARTS_FROM) for run in runs):
        notes.append("steps, seconds and FLOPs are those of the last stage; runs began from the weights of another")
    return notes


def notes_on_time(runs: Sequence[RunRecord]) -> list[str]:
    """Return why seconds of these runs can't be compared; [] where they can."""
    machines = {tuple(run.environment.get(key) for key in MACHINE) for run in runs}
    if len(machines) > 1:
        different = "; ".join(sorted(", ".join(str(part) for part in machine) for machine in machines))
        return [f"the runs had different machines or threads ({different}), so there is no comparison at equal seconds"]
    if len({run.has_cpu_seconds for run in runs}) > 1:
        return ["some runs have no CPU seconds on record, so there is no comparison at equal seconds"]
    return [OTHER_STARTS] if different_starts(runs) else []


def notes_on_flops(runs: Sequence[RunRecord]) -> list[str]:
    """Return why training FLOPs of these runs can't be compared; [] where they can, or there are none."""
    if different_starts(runs):
        return [OTHER_STARTS]
    spent = [run.training_flops(run.last) for run in runs if not run.count_based]
    if None in spent and any(spent):
        return ["some runs have no FLOPs on record, so there is no comparison at equal FLOPs"]
    return []


def different_starts(runs: Sequence[RunRecord]) -> bool:
    """Whether some began from the weights of others and some did not, so that steps and seconds can't be compared."""
    return len({bool(run.settings.get(STARTS_FROM)) for run in runs}) > 1
