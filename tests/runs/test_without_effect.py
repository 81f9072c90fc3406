"""Settings that are valid, yet change nothing in training, are said; those that change something are not."""

from pathlib import Path
from typing import Any

import pytest

from mingpt.runs import config as settings
from mingpt.runs.run import train
from mingpt.runs.summary import without_effect


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.window=16", "--data.block_size=16"], "model.window=16 covers all of the block (data.block_size=16)"),
        (
            ["--model.window=200", "--data.block_size=16"],
            "model.window=200 covers all of the block (data.block_size=16)",
        ),
        (["--model.window=15", "--data.block_size=16"], None),
        (["--data.block_size=16"], None),
        (["--model.conv_width=4", "--data.block_size=3"], "model.conv_width=4 is wider than data.block_size=3"),
        (["--model.conv_width=4", "--data.block_size=4"], None),
        (["--model.type=ngram", "--data.block_size=4"], None),
        (["--model.type=rnn", "--data.block_size=1"], None),
        (["--trainer.warmup_iters=9", "--trainer.max_iters=9"], "trainer.warmup_iters=9: all of trainer.max_iters=9"),
        (["--trainer.warmup_iters=8", "--trainer.max_iters=9"], None),
    ],
)
def test_setting_without_effect_is_reported(words: list[str], said: str | None) -> None:
    lines = without_effect(settings.parse(words))
    assert len(lines) == (said is not None)
    if said:
        assert lines[0].startswith(said)


def test_window_wider_than_the_block_is_reported_once_when_training_starts(
    tiny: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny(tmp_path / "run", {"model.window": 200, "trainer.max_iters": 1, "trainer.warmup_iters": 0})
    train(config)
    assert len([line for line in caplog.messages if "full attention" in line]) == 1


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"data.block_size": 11}, False),  # 91 tokens: 8 blocks and 3
        ({"data.block_size": 12}, True),  # 7 blocks and 7
        ({"data.block_size": 12, "data.val_fraction": 0.2}, False),
        ({"data.block_size": 12, "model.type": "rnn"}, True),
        ({"data.block_size": 12, "model.type": "birnn", "model.objective": "masked"}, True),
        ({"data.block_size": 12, "model.type": "birnn"}, False),  # it has no loss that the set is for
    ],
    ids=str,
)
def test_validation_set_of_few_blocks_is_warned_of_in_one_line(
    tiny: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], warned: bool
) -> None:
    once = {"trainer.max_iters": 1, "trainer.warmup_iters": 0, "model.resid_pdrop": 0.0}
    train(tiny(tmp_path / "run", {**once, **changes}))
    lines = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    rule = "the validation set has 91 tokens, fewer than 8 blocks of 12: "
    assert [line.startswith(rule) and "--data.val_fraction" in line for line in lines] == [True] * warned
