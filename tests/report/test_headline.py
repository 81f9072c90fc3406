"""A comparison in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from mingpt.report.compare import comparison
from mingpt.report.headline import brief


def test_arm_without_a_loss_is_what_others_are_compared_with(make_run: Any, six: list[Path]) -> None:
    blind = [make_run(f"blind-{seed}", seed=seed) for seed in (1, 2, 3)]
    for folder in blind:
        (folder / "metrics.jsonl").write_text((folder / "metrics.jsonl").read_text().replace("val_loss", "x"))
    arms = {"blind": blind, "new": six[1::2], "old": six[::2]}
    result = comparison(arms, every_pair=True)
    assert result.headline.startswith("new is better than old by 0.104 nats")
    assert result.headline.endswith("; blind is without a held-out loss")
    third = [make_run(f"t{seed}", seed=seed, curve=[3, 2, 1.7 + (-1) ** seed / 9]) for seed in (1, 2, 3)]
    said = comparison({**arms, "odd, one": third}, every_pair=True).headline
    assert said.startswith("compared with new (held-out loss 1.516 nats), old (by 0.104 nats) is worse; ")
    assert "“odd, one” is not told apart from it (3 seeds could have shown a difference of 0." in said
    assert said.endswith("; blind is without a held-out loss")


def test_brief_is_full_of_numbers_or_hides_an_arm_or_that_a_difference_is_small(make_run: Any) -> None:
    ends = {"old": 1.7, "new": 1.5, "near": 1.68, "odd": 1.704}
    wobble = {"old": (0, 0, 0), "new": (0.01, 0, -0.01), "near": (0.001, 0, 0), "odd": (0.09, -0.09, 0)}
    arms = {
        name: [make_run(f"{name}{s}", seed=s, curve=[3, 2, end + wobble[name][s - 1]], score=name) for s in (1, 2, 3)]
        for name, end in ends.items()
    }
    found = comparison(arms)
    losses = {arm.name: arm.loss.mean if arm.loss else None for arm in found.arms}
    assert brief({**losses, "blind": None}, found.verdicts, "nats") == (
        "compared with old, new and near (by less than 0.05 nats) are better; odd is not told apart from it; new has "
        "the lowest held-out loss; blind has no held-out loss"
    )
    pair = {name: losses[name] for name in ("old", "new")}
    assert brief(pair, found.verdicts[:1], "nats") == "compared with old, new (by 0.200 nats) is better"


def test_headline_hides_an_arm_of_fewer_seeds(make_run: Any, six: list[Path]) -> None:
    few = [make_run(f"few-{seed}", seed=seed, curve=[3, 2, 1.1 + seed / 100]) for seed in (4, 5)]
    for arms in ({"old": six[::2], "new": six[1::2], "few": few}, {"few": few, "old": six[::2], "new": six[1::2]}):
        found = comparison(arms, every_pair=True)
        said = found.headline
        assert said.startswith("compared with old (held-out loss 1.620 nats), new (by 0.104 nats) is better; ")
        assert "few is without a verdict" in said
        losses = {arm.name: arm.loss.mean for arm in found.arms if arm.loss}
        assert brief(losses, found.verdicts, "nats") == ("compared with old, new is better; few is without a verdict")
        assert said.endswith("the lowest held-out loss is 1.145 nats, few")


def test_comparison_is_no_json(six: list[Path]) -> None:
    told = json.loads(json.dumps(comparison(six, every_pair=True).to_json(), allow_nan=False))
    assert told["verdicts"][0]["difference"]["seeds"] == [1, 2, 3]
    assert told["arms"][0]["curves"][0]["losses"][-1] == pytest.approx(1.61)
