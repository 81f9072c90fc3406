"""Prompts of a run: chosen from any text by a rule that every process repeats, or as a person says."""

import random

import numpy as np
import pytest

from mingpt.core.errors import UsageError
from mingpt.data import prompts
from mingpt.data.data_config import SampleConfig
from mingpt.data.prompts import beginnings, prompts_for
from mingpt.data.tokenizers import TOKENIZERS

PLAY = "".join(
    f"{name}:\n{line}\n\n"
    for name, line in [("ROMEO", "Ay me!"), ("JULIET", "O Romeo, Romeo! wherefore art thou Romeo?")] * 9
    + [("Nurse", "Madam!"), ("PRINCE", "Rebellious subjects, enemies to peace, profaners of this steel")] * 3
)


def found(text: str, kind: str = "char") -> list[str]:
    tokenizer = TOKENIZERS[kind].of([text])
    return beginnings(tokenizer.encode(text), tokenizer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAY, ["ROMEO:", "JULIET:", "Nurse:"]),
        (PLAY.replace("\n", "\r\n"), ["ROMEO:", "JULIET:", "Nurse:"]),
        (
            "It was a dark night and the rain fell.\n\n" * 9 + "She left early, before the guests came.\n",
            ["It was a", "She left"],
        ),
        ("def f(x):\n    return x\n" * 5, ["def f(x):", "return x"]),  # hardly a paragraph: every line counts
        ("the quick brown fox jumps over the lazy dog", ["the quick"]),  # one line that does not end
        ("道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。\n" * 3, ["道可道，非常道。名可名，"]),
        ("12 34\n\n***\n\n" * 9, [""]),  # nothing to read
        ("\n" * 40, [""]),
        ("\x1b[31mred\n\nplain\n\n" * 9, ["plain"]),
    ],
)
def test_prompts_are_commonest_readable_beginnings_of_paragraphs(text: str, expected: list[str]) -> None:
    assert found(text) == found(text, "byte") == expected


def test_long_text_is_read_at_spread_places_and_cut_lines_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "PIECES", 5)
    monkeypatch.setattr(prompts, "PIECE", 97)
    draw = random.Random(3)
    text = "A licence of one\n\n" + "".join(f"{draw.choice(['Act one', 'Act two'])}\n\n" for _ in range(400))
    assert set(found(text)) == {"A licence of one", "Act one", "Act two"}
    assert set(found(text, "byte")) == {"A licence of one", "Act one", "Act two"}


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_lines_in_the_middle_of_a_paragraph_are_no_beginnings_of_one(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(prompts, "PIECES", 9)
    monkeypatch.setattr(prompts, "PIECE", 97)
    assert found("\n".join("Act one\nAct two\nAct two\n" for _ in range(300)), kind) == ["Act one"]


def test_given_prompts_come_before_stored_ones_and_those_before_the_text_s() -> None:
    tokenizer = TOKENIZERS["char"].of([PLAY])
    ids = tokenizer.encode(PLAY)
    assert prompts_for(SampleConfig(prompts=("R", "")), ids, tokenizer, ["J"]) == ["R", ""]
    assert prompts_for(SampleConfig(), ids, tokenizer, ["J"]) == ["J"]
    assert prompts_for(SampleConfig(), ids, tokenizer) == ["ROMEO:", "JULIET:", "Nurse:"]
    assert prompts_for(SampleConfig(), np.zeros(5, np.uint8), tokenizer) == [""]


def test_prompt_that_the_vocabulary_cannot_spell_is_rejected_by_the_setting_s_name() -> None:
    tokenizer = TOKENIZERS["char"].of([PLAY])
    with pytest.raises(UsageError, match=r"^sample.prompts='ROMÉO': unknown to this vocabulary .*'É' \(U\+00C9\)$"):
        prompts_for(SampleConfig(prompts=("ROMEO", "ROMÉO")), tokenizer.encode(PLAY), tokenizer)


@pytest.mark.parametrize("wrong", [(), "ROMEO:"])
def test_prompts_must_be_a_list_of_texts(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"sample.prompts=.*must be a list of one text or more, or null"):
        SampleConfig(prompts=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"sample.tokens=0: must be at least 1"):
        SampleConfig(tokens=0)
