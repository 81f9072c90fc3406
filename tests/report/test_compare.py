"""Run folders into variants: which runs belong together, what is read off their curves, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingpt.core.errors import DataError, UsageError
from mingpt.report.columns import records_of, table_of
from mingpt.report.compare import comparison
from mingpt.report.figures import loss_curves
from mingpt.report.variants import names_of


def test_variants_are_named_by_what_differs(six: list[Path]) -> None:
    result = comparison(six)
    assert [each.name for each in result.variants] == ["model.rope=False", "model.rope=True"]
    assert [each.seeds for each in result.variants] == [[1, 2, 3]] * 2
    assert result.differing == {"model.rope": [False, True]}
    assert [each.parameters for each in result.variants] == [16044] * 2
    assert result.variants[0].loss.mean == pytest.approx(1.62)
    (test,) = result.tests
    assert (test.baseline, test.variant, test.outcome) == ("model.rope=False", "model.rope=True", "better")
    assert test.difference.mean == pytest.approx(-0.104)


def test_seed_folder_and_cadence_make_no_variant(make_run: Any) -> None:
    folders = [make_run("a", seed=1), make_run("b", seed=2), make_run("c", seed=3)]
    for folder, line in zip(folders, ("eval_every: 5", "eval_every: 10", "eval_every: 7"), strict=True):
        text = (folder / "config.yaml").read_text().replace("eval_every: 10", line).replace("t.txt", f"{folder}.txt")
        (folder / "config.yaml").write_text(text + "wandb:\n  name: " + folder.name + "\n")
    (variant,) = comparison(folders).variants
    assert variant.seeds == [1, 2, 3]


def test_setting_that_older_runs_lack_is_their_default(make_run: Any) -> None:
    assert len(comparison([make_run("a", seed=1), make_run("b", seed=2, window=None)]).variants) == 1
    assert len(comparison([make_run("c", seed=1), make_run("d", seed=2, window=8)]).variants) == 2


def test_setting_that_came_later_does_not_part_runs(make_run: Any) -> None:
    older, newer = make_run("a", seed=1), make_run("b", seed=2, conv_width=1)
    path = newer / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "defaults": {"model.conv_width": 1}}))
    assert [each.seeds for each in comparison([older, newer]).variants] == [[1, 2]]
    wide = make_run("c", seed=3, conv_width=4)
    assert comparison([older, newer, wide]).differing == {"model.conv_width": [1, 4]}


def test_setting_that_came_later_does_not_part_named_variants(make_run: Any) -> None:
    older, newer = make_run("a"), make_run("b", rope=True, conv_width=1)
    path = newer / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "defaults": {"model.conv_width": 1}}))
    assert comparison({"old": [older], "new": [newer]}).differing == {"model.rope": [False, True]}


def test_second_stages_are_variants_by_settings_and_not_by_folders(make_run: Any) -> None:
    first = {(rope, seed): make_run(f"1-{rope}-{seed}", seed=seed, rope=rope) for rope in (0, 1) for seed in (1, 2)}
    second = [make_run(f"2-{rope}-{seed}", seed=seed, pretrained_folder=str(first[rope, seed])) for rope, seed in first]
    result = comparison(second)
    assert [each.name for each in result.variants] == ["first stage: model.rope=0", "first stage: model.rope=1"]
    assert [each.seeds for each in result.variants] == [[1, 2]] * 2
    assert "last stage" in result.notes[0]


def test_first_stage_of_some_variants_is_told_by_its_length_and_by_what_differs(make_run: Any) -> None:
    first = [make_run(f"1-{rope}", rope=rope) for rope in (0, 1)]
    staged = [make_run(f"2-{place}", pretrained_folder=str(each)) for place, each in enumerate(first)]
    names = {key.removeprefix("first stage: ") for key in comparison([*staged, make_run("alone")]).differing}
    assert names == {"trainer.max_iters", "data.block_size", "model.rope"}


def test_folder_named_twice_counts_once(six: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(six[0].parent)
    assert comparison([*six, six[0].name, six[0]]).variants[0].seeds == [1, 2, 3]


def test_names_of_variants_are_the_callers(six: list[Path]) -> None:
    result = comparison({"new": six[1::2], "old": six[::2], "none": []})
    assert [each.name for each in result.variants] == ["new", "old"]
    assert (result.baseline, result.tests[0].variant, result.tests[0].outcome) == ("new", "old", "worse")


def test_loss_at_equal_seconds_is_not_that_at_equal_steps(six: list[Path]) -> None:
    result = comparison(six)  # learned ends after 3.0 s; rope was then at its 15th step, between 3.0 and 2.0
    assert result.seconds == pytest.approx(3.0)
    assert result.variants[0].losses_at_seconds == pytest.approx(result.variants[0].losses)
    assert result.variants[1].losses_at_seconds == pytest.approx([2.5] * 3)
    assert result.tests_at_seconds[0].outcome == "worse"


def without_flops(run: Path) -> Path:
    """The run as one whose environment says nothing of FLOPs."""
    path = run / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": {"parameters": 7}}))
    return run


def test_loss_at_equal_flops_is_that_at_the_most_that_all_variants_spent(costly: dict[str, list[Path]]) -> None:
    result = comparison(costly)  # 240 tokens: 3 x 1e6 x 240 for "cheap", when "dear" is between its steps 10 and 20
    assert result.flops == pytest.approx(3 * 1e6 * 240)
    cheap, dear = result.variants
    assert (cheap.training_flops, dear.training_flops) == (pytest.approx(7.2e8), pytest.approx(14.4e8))
    assert cheap.losses_at_flops == pytest.approx(cheap.losses)
    assert dear.losses_at_flops == pytest.approx([2.5] * 3)
    assert (result.tests[0].outcome, result.tests_at_flops[0].outcome) == ("better", "worse")


def test_n_gram_model_has_no_training_flops_and_leaves_the_others_theirs(
    make_run: Any, costly: dict[str, list[Path]]
) -> None:
    result = comparison({**costly, "counts": counted(make_run, "c", 1.68, order=6)})
    counts = result.variants[-1]
    assert (counts.training_flops, counts.loss_at_flops, counts.losses_at_flops) == (None, None, [None] * 3)
    assert result.flops == pytest.approx(7.2e8)
    (row,) = (row for row in records_of(result) if row["variant"] == "counts")
    assert (row["loss_at_flops"], row["outcome_at_flops"]) == (None, None)


def test_flops_that_a_run_lacks_are_not_made_up(costly: dict[str, list[Path]]) -> None:
    without_flops(costly["dear"][1])
    result = comparison(costly)
    assert (result.flops, result.tests_at_flops) == (None, [])
    assert result.notes == ["some runs have no FLOPs on record, so there is no comparison at equal FLOPs"]
    for run in (*costly["cheap"], *costly["dear"]):
        without_flops(run)
    result = comparison(costly)
    assert (result.flops, result.notes) == (None, [])


def test_flops_of_a_last_stage_are_not_compared_with_those_of_a_complete_training(
    make_run: Any, costly: dict[str, list[Path]]
) -> None:
    start = make_run("start", seed=9)
    second = [make_run(f"s{seed}", seed=seed, pretrained_folder=str(start)) for seed in (1, 2, 3)]
    result = comparison({"straight": costly["cheap"], "in stages": second})
    assert (result.flops, result.seconds) == (None, None)
    assert sum("no comparison at equal seconds or FLOPs" in note for note in result.notes) == 1


def test_loss_before_the_first_evaluation_is_not_made_up(six: list[Path], make_run: Any) -> None:
    short = [make_run(f"short-{seed}", seed=seed, curve=[3.0], second=0.05, score="dot") for seed in (1, 2, 3)]
    result = comparison([*six, *short])
    assert result.seconds == pytest.approx(0.5)  # the others were first judged after 1 and 2 s
    assert result.variants[0].losses_at_seconds == [None] * 3
    assert result.tests_at_seconds == []


def test_steps_to_the_baselines_loss_are_of_shared_seeds(six: list[Path], make_run: Any) -> None:
    lone = make_run("rope-9", seed=9, curve=[1.0, 0.9, 0.8], rope=True)
    more, alone = comparison([*six, lone]).variants[1], comparison(six).variants[1]
    assert more.steps_to_baseline == alone.steps_to_baseline


def test_seconds_of_two_machines_are_not_compared(six: list[Path]) -> None:
    path = six[0] / "environment.json"
    path.write_text(path.read_text().replace('"threads": 2', '"threads": 8'))
    result = comparison(six)
    assert (result.seconds, result.tests_at_seconds) == (None, [])
    assert "no comparison at equal seconds" in result.notes[0]


def with_cpu_seconds(run: Path) -> Path:
    """The run as recorded since CPU seconds are: twice its seconds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = [{**line, "cpu_seconds": 2 * line["seconds"]} for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_cpu_seconds_are_labelled(six: list[Path]) -> None:
    assert "loss\nat 3 s" in table_of(comparison(six)).heads
    result = comparison([*map(with_cpu_seconds, six)])
    assert (result.seconds, result.clock) == (pytest.approx(6.0), "CPU")
    assert "loss\nat 6 CPU s" in table_of(result).heads
    drawn = loss_curves(result, over="seconds")
    assert drawn
    (axes,) = drawn.figure.axes  # of the second variant; the first is in grey
    assert axes.get_xlabel() == "CPU seconds of training"
    assert "by CPU seconds of training" in drawn.caption


def test_cpu_seconds_are_not_compared_with_others(six: list[Path]) -> None:
    with_cpu_seconds(six[0])
    result = comparison(six)
    assert (result.seconds, result.tests_at_seconds) == (None, [])
    assert "some runs have no CPU seconds on record" in result.notes[0]


def test_steps_of_a_last_stage_are_not_compared_with_those_of_a_complete_training(make_run: Any) -> None:
    curves = {seed: [1.9, 1.7 + seed / 100, 1.5 + seed / 100] for seed in (1, 2, 3)}
    straight = [make_run(f"a{seed}", seed=seed, curve=curve) for seed, curve in curves.items()]
    first = [make_run(f"b{seed}", seed=seed, rope=True) for seed in curves]
    second = [
        make_run(f"c{seed}", seed=seed, curve=[1.2, 1.1, 1.0 + seed / 200], rope=True, pretrained_folder=str(stage))
        for seed, stage in zip(curves, first, strict=True)
    ]
    result = comparison([*straight, *second])
    assert (result.seconds, result.tests_at_seconds) == (None, [])
    assert result.tests[0].outcome == "better"
    assert result.variants[1].steps_to_baseline is None
    assert any("no comparison at equal seconds" in note for note in result.notes)


def test_steps_to_the_baselines_loss_are_read_from_the_validation_curve(six: list[Path]) -> None:
    first, second = comparison(six).variants  # rope falls from 2 to 1.516 over steps 20 to 30, and passes 1.62
    assert first.steps_to_baseline is None
    assert second.steps_to_baseline == pytest.approx(20 + 10 * (2 - 1.62) / (2 - 1.516))


def test_steps_to_the_baselines_loss_need_three_evaluations(six: list[Path]) -> None:
    for folder in six:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        kept = [{key: value for key, value in line.items() if not key.endswith("_part")} for line in lines]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    assert comparison(six).variants[1].steps_to_baseline is None


def test_losses_of_other_vocabularies_are_compared_by_the_byte(make_run: Any) -> None:
    runs = [make_run(f"a{s}", seed=s, bits=2.0 + s / 50) for s in (1, 2, 3)]
    runs += [make_run(f"b{s}", seed=s, curve=[5, 4, 3], bits=1.5 + s / 60, vocabulary="w", rope=1) for s in (1, 2, 3)]
    result = comparison(runs)
    assert (result.unit, result.baselines) == ("nats per byte", {})
    assert result.variants[1].loss.mean == pytest.approx(math.log(2) * (1.5 + 2 / 60))
    assert result.tests[0].outcome == "better"


def test_runs_that_see_the_answer_are_not_compared_by_loss(six: list[Path]) -> None:
    for folder in six[1::2]:
        text = (folder / "metrics.jsonl").read_text().replace("val_loss", "x").replace("bits_per_byte", "y")
        (folder / "metrics.jsonl").write_text(text)
    result = comparison(six)
    assert result.variants[1].loss is None
    assert result.tests[0].outcome == "not tested"


def counted(make_run: Any, name: str, loss: float, seeds: int = 3, **model: Any) -> list[Path]:
    """Runs of a model that counts: one step, no learning rate, the same loss for every seed."""
    found = [make_run(f"{name}-{seed}", seed=seed, curve=[loss], steps=1, **model) for seed in range(1, seeds + 1)]
    for folder in found:
        line = {"step": 1, "tokens": 80, "seconds": 0.1, "train_loss": 1.0, "val_loss": loss, "bits_per_byte": 2.0}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return found


def test_equal_n_gram_runs_are_one_sample(make_run: Any, six: list[Path]) -> None:
    runs = {
        "six": counted(make_run, "c", 1.68, order=6),
        "two": counted(make_run, "d", 1.9, order=2),
        "rope": six[1::2],
    }
    result = comparison(runs, every_pair=True)
    assert [each.deterministic for each in result.variants] == [True, True, False]
    assert (result.variants[0].loss.low, result.variants[0].loss.n) == (None, 3)
    assert [test.outcome for test in result.tests] == ["not tested", "better", "better"]
    assert "six is an n-gram model: its loss is equal for every seed" in result.notes[-2]


def test_setting_that_a_family_has_not_is_not_listed(make_run: Any) -> None:
    def reads(*names: str) -> dict[str, Any]:
        return {"model": {"parameters": 1, "reads": ["model.type", *names]}}

    runs = [make_run("g", type="gpt", cell="x", n_layer=2, environment=reads("model.n_layer"))]
    runs += [make_run(c, type="rnn", cell=c, n_layer=1, environment=reads("model.n_layer", "model.cell")) for c in "ab"]
    runs.append(make_run("n", type="ngram", cell="y", n_layer=4, environment=reads()))
    found = comparison(runs).differing
    assert found == {
        "model.cell": [None, "a", "b", None],
        "model.n_layer": [2, 1, 1, None],
        "model.type": ["gpt", "rnn", "rnn", "ngram"],
    }


# ---- refused


def test_other_text_is_not_compared(make_run: Any) -> None:
    with pytest.raises(DataError, match=r"b: was trained on another text \(u.txt\) than .*a \(t.txt\)"):
        comparison([make_run("a"), make_run("b", text="u", rope=True)])


def test_other_validation_set_is_not_compared(make_run: Any) -> None:
    a, b = make_run("a"), make_run("b", rope=True)
    (b / "config.yaml").write_text((b / "config.yaml").read_text().replace("val_fraction: 0.1", "val_fraction: 0.2"))
    with pytest.raises(DataError, match=r"data.val_fraction=0.2, but 0.1"):
        comparison([a, b])


def test_unfinished_run_is_reported_and_not_compared(make_run: Any, six: list[Path]) -> None:
    late, broken = make_run("late", seed=4, steps=50), make_run("broken", seed=5, curve=[3.0, 2.0, math.nan])
    with pytest.raises(
        UsageError, match=r"late: it is unfinished, at step 30 of 50; .*broken: its validation loss is nan"
    ):
        comparison([*six, late, broken])
    result = comparison([*six, late, broken], keep_going=True)
    assert [Path(folder).name for folder, _ in result.left_out] == ["late", "broken"]
    assert result.variants[0].seeds == [1, 2, 3]
    with pytest.raises(UsageError, match=r"nothing to compare: .*late"):
        comparison([late], keep_going=True)


def test_same_run_twice_is_rejected(make_run: Any) -> None:
    with pytest.raises(UsageError, match=r"b: has the settings and the seed of .*a;"):
        comparison([make_run("a"), make_run("b")])


LONG = {"n_embd": 126_000, "cell": "gru", "type": "rnn", "n_layer": 1}


def test_name_of_a_variant_is_short_and_its_own(make_run: Any) -> None:
    reads = {
        name: [f"model.{each}" for each in ("type", "n_embd", "n_layer", name)] for name in ("cell", "n_query_head")
    }
    gpt, rnn = ({"model": {"parameters": 1, "reads": reads[name]}} for name in ("n_query_head", "cell"))
    runs = [make_run("g", type="gpt", n_embd=64, n_query_head=4, n_layer=2, environment=gpt)]
    runs += [make_run(cell, **{**LONG, "cell": cell}, environment=rnn) for cell in ("gru", "lstm")]
    names = [each.name for each in comparison(runs).variants]
    assert names == ["type=gpt +2", "type=rnn cell=gru +2", "type=rnn cell=lstm +2"]


@given(
    variants=st.lists(
        st.dictionaries(
            st.sampled_from(["model.a", "trainer.a", "model.type", "model.width"]),
            st.text("ab1", max_size=9),
            min_size=1,
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda variant: tuple(sorted(variant.items())),
    ),
)
def test_no_two_variants_have_one_name(variants: list[dict[str, str]]) -> None:
    names = names_of(variants)
    assert len({*names}) == len(variants)
    assert all(names)


def test_baseline_is_the_first_variant_with_a_validation_loss(make_run: Any, six: list[Path]) -> None:
    blind = [make_run(f"blind-{seed}", seed=seed) for seed in (1, 2, 3)]
    for folder in blind:
        (folder / "metrics.jsonl").write_text((folder / "metrics.jsonl").read_text().replace("val_loss", "x"))
    for every_pair in (False, True):
        result = comparison({"blind": blind, "new": six[1::2], "old": six[::2]}, every_pair=every_pair)
        assert result.baseline == "new"
        outcomes = {test.variant: test.outcome for test in result.tests if test.baseline == "new"}
        assert outcomes == {"blind": "not tested", "old": "worse"}


def test_comparison_is_json(six: list[Path]) -> None:
    found = json.loads(json.dumps(comparison(six, every_pair=True).to_json(), allow_nan=False))
    assert found["tests"][0]["difference"]["seeds"] == [1, 2, 3]
    assert found["variants"][0]["curves"][0]["losses"][-1] == pytest.approx(1.61)
