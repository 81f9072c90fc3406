"""Which runs make an arm, the same settings but for the seed and for what can't change a loss; and what is refused."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mingpt.core.errors import DataError, UsageError
from mingpt.core.run_files.records import FIRST_STAGE, STARTS_FROM, RunRecord, is_run, read_run, settings_of

NOT_OF_AN_ARM = (
    *("system.seed", "system.work_dir", "data.path", "trainer.resume", "trainer.resume_changed"),
    *("trainer.eval_every", "trainer.eval_tokens", "trainer.sample_every", "trainer.save_every"),
    *("sample.prompts", "sample.tokens"),
)
FAMILY = "model.type"
LONGEST_NAME = 40  # characters of an arm's name, so that a table and a legend have room for it
PIPED = {"-": "standard input"}  # what a run calls its text, and what people do
MACHINE = ("device", "device_name", "threads")


@dataclass(frozen=True)
class Group:
    """An arm in the making."""

    name: str
    runs: list[RunRecord]
    settings: dict[str, Any]


def read_runs(given: Iterable[str | Path | RunRecord]) -> list[RunRecord]:
    """Read each folder once, however often and by whatever path it is named; what is read already stays as it is.

    A run that is older than a setting had that setting's default, which newer runs of its family have recorded.
    """
    by_place = {(each.folder if isinstance(each, RunRecord) else Path(each)).resolve(): each for each in given}
    runs = [each if isinstance(each, RunRecord) else read_run(Path(each)) for each in by_place.values()]
    defaults: dict[Any, dict[str, Any]] = {}
    for run in runs:
        defaults.setdefault(run.settings.get(FAMILY), {}).update(run.environment.get("defaults", {}))
    return [replace(run, settings={**defaults[run.settings.get(FAMILY)], **run.settings}) for run in runs]


def usable(records: Sequence[RunRecord], keep_going: bool) -> tuple[list[RunRecord], list[tuple[str, str]]]:
    """Finished runs, and the others with their reasons.

    Raises:
        UsageError: some are unfinished and `keep_going` is not said, or none is left.
    """
    left_out = [(str(run.folder), run.trouble) for run in records if run.trouble]
    used = [run for run in records if not run.trouble]
    told = "; ".join(f"{folder}: {why}" for folder, why in left_out)
    if left_out and not keep_going:
        raise UsageError(f"{told}; finish or leave out what can't be compared")
    if not used:
        raise UsageError(f"nothing to compare: {told or 'no run was named'}")
    return used, left_out


def refuse_other_texts(runs: Sequence[RunRecord]) -> None:
    """Raises DataError where held-out losses are not of the same text."""
    first = runs[0]
    for run in runs[1:]:
        if run.environment.get("text_sha256") != first.environment.get("text_sha256"):
            own, other = (str(each.environment.get("text", "unknown")) for each in (run, first))
            raise DataError(
                f"{run.folder}: was trained on another text ({PIPED.get(own, own)}) than {first.folder} "
                f"({PIPED.get(other, other)}); their losses can't be compared"
            )
        ours, theirs = (each.settings.get("data.val_fraction") for each in (run, first))
        if ours != theirs:
            raise DataError(
                f"{run.folder}: data.val_fraction={ours}, but {theirs} in {first.folder}: another validation set"
            )


def refuse_twins(groups: Sequence[Group]) -> None:
    """Raises UsageError where an arm has a seed twice: equal runs would pass for independent ones."""
    for group in groups:
        seen: dict[int, RunRecord] = {}
        for run in group.runs:
            if run.seed in seen:
                raise UsageError(
                    f"{run.folder}: has the settings and the seed of {seen[run.seed].folder}; a run said twice is no "
                    "second one, so leave one out"
                )
            seen[run.seed] = run


def arm_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What makes an arm: settings without seed, folders, cadences; of the weights it starts from, how they came."""
    kept = {key: value for key, value in settings.items() if _counts(key.split(FIRST_STAGE)[-1])}
    start = kept.get(STARTS_FROM)
    if any(key.startswith(FIRST_STAGE) for key in kept):  # of a published run
        kept.pop(STARTS_FROM, None)
    elif start and is_run(Path(start)):
        del kept[STARTS_FROM]
        kept |= {f"{FIRST_STAGE}{k}": v for k, v in arm_settings(settings_of(Path(start))).items()}
    return kept


def _counts(key: str) -> bool:
    return key not in NOT_OF_AN_ARM and not key.startswith("wandb.")


def by_settings(runs: Sequence[RunRecord]) -> list[Group]:
    """Runs of the same settings together, in the order in which their first was named."""
    found: list[tuple[dict[str, Any], list[RunRecord]]] = []
    for run in runs:
        own = arm_settings(run.settings)
        members = next((there for settings, there in found if not differing([settings, own])), None)
        if members is None:
            found.append((own, [run]))
        else:
            members.append(run)
    unlike = differing([settings for settings, _ in found])
    named = names_of([said_of(settings, unlike) for settings, _ in found])
    names = [name or runs[0].folder.resolve().name for name, (_, runs) in zip(named, found, strict=True)]
    return [Group(name, runs, settings) for name, (settings, runs) in zip(names, found, strict=True)]


def grouped(named: Mapping[str, Sequence[RunRecord]], used: Sequence[RunRecord]) -> list[Group]:
    kept = {name: [run for run in runs if run in used] for name, runs in named.items()}
    return [Group(name, runs, arm_settings(runs[0].settings)) for name, runs in kept.items() if runs]


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


def said_of(settings: Mapping[str, Any], differing: Iterable[str]) -> dict[str, str]:
    """Return what differs, as far as the run's family has it."""
    return {key: str(settings[key]) for key in differing if key in settings}


def names_of(arms: Sequence[Mapping[str, str]]) -> list[str]:
    """`model.type=rnn model.cell=gru` for each arm's settings, no two alike.

    Where one would be longer than LONGEST_NAME, all go without their groups; where one still is, all have just as many
    settings as tell them apart, and the number of those left out: `type=rnn cell=gru +2`.
    """
    short = without_groups(dict.fromkeys(key for arm in arms for key in arm))
    full = [" ".join(f"{key}={value}" for key, value in arm.items()) for arm in arms]
    bare = [" ".join(f"{short[key]}={value}" for key, value in arm.items()) for arm in arms]
    for names in (full, bare):
        if max(map(len, names), default=0) <= LONGEST_NAME:
            return names
    telling = _telling(arms)
    return [
        " ".join(
            [
                *(f"{short[key]}={arm[key]}" for key in telling if key in arm),
                *([f"+{left}"] if (left := len(arm.keys() - set(telling))) else []),
            ]
        )
        for arm in arms
    ]


def without_groups(keys: Iterable[str]) -> dict[str, str]:
    """`model.rope` -> `rope`, but as they are where two would become one."""
    last = {key: key.rpartition(".")[2] for key in keys}
    names = [*last.values()]
    return {key: name if names.count(name) == 1 else key for key, name in last.items()}


def _telling(arms: Sequence[Mapping[str, str]]) -> list[str]:
    """Few settings, words before numbers, by which no two arms are alike and of which each arm reads one."""
    keys = list(dict.fromkeys(key for arm in arms for key in arm))
    keys.sort(key=lambda key: any(arm.get(key, "")[:1].isdigit() for arm in arms))
    chosen: list[str] = []

    def parted(by: Sequence[str]) -> int:
        return len({tuple(arm.get(key) for key in by) for arm in arms})

    while parted(chosen) < parted(keys):
        chosen.append(max(keys, key=lambda key: parted([*chosen, key])))
    while nameless := [arm for arm in arms if arm and not arm.keys() & {*chosen}]:
        chosen.append(max(keys, key=lambda key: sum(key in arm for arm in nameless)))
    return [key for key in keys if key in chosen]


def notes(runs: Sequence[RunRecord], per_byte: bool) -> list[str]:
    notes = []
    if per_byte:
        notes.append("vocabularies differ, so losses are nats per byte, and n-gram baselines are left out")
    if any("val_loss" not in run.last for run in runs):
        notes.append("runs without a validation loss see the tokens that they predict, or were not evaluated")
    if any(run.settings.get(STARTS_FROM) for run in runs):
        notes.append("steps and seconds are those of the last stage; runs began from the weights of another")
    return notes


def notes_on_time(runs: Sequence[RunRecord]) -> list[str]:
    """Why seconds of these runs can't be compared; [] where they can."""
    machines = {tuple(run.environment.get(key) for key in MACHINE) for run in runs}
    if len(machines) > 1:
        told = "; ".join(sorted(", ".join(str(part) for part in machine) for machine in machines))
        return [f"the runs had different machines or threads ({told}), so there is no comparison at equal seconds"]
    if unlike_starts(runs):
        return ["some runs began from the weights of others, so there is no comparison at equal seconds, nor of steps"]
    return []


def unlike_starts(runs: Sequence[RunRecord]) -> bool:
    """Whether some went on from others' weights and some began anew, so that their steps and seconds are unlike."""
    return len({bool(run.settings.get(STARTS_FROM)) for run in runs}) > 1
