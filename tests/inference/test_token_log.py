"""Per-token log-probabilities: one line a token, whose mean is the loss."""

import hashlib
import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from letters import LETTERS, random_ids

from mingpt.core.errors import NotFiniteError
from mingpt.core.token_ids import Tokenizer
from mingpt.data.tokenizers import ByteTokenizer
from mingpt.inference import token_log
from mingpt.inference.evaluate import ValidationLoss, validation_loss
from mingpt.model import GPT

MakeGPT = Callable[..., GPT]


def lines_of(loss: ValidationLoss, ids: np.ndarray, tokenizer: Tokenizer, **facts: Any) -> list[dict[str, Any]]:
    file = io.BytesIO()
    token_log.write(file, loss, ids, tokenizer, **facts)
    return [json.loads(line) for line in file.getvalue().decode().splitlines()]


def test_lines_are_all_tokens_in_order_and_their_mean_is_the_loss(gpt: MakeGPT) -> None:
    model, ids = gpt(), random_ids(30)
    loss = validation_loss(model, ids, LETTERS, stride=2, by_token=True)
    header, *lines = lines_of(loss, ids, LETTERS, stride=2)
    text = LETTERS.decode(ids)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    assert header == {"tokens": 29, "bytes": 29, "text_sha256": sha256, "loss": loss.nats, "stride": 2}
    assert [line["position"] for line in lines] == list(range(30))
    assert [line["token"] for line in lines] == ids.tolist()
    assert "".join(line["text"] for line in lines) == text
    first, *log_probs = [line["log_prob"] for line in lines]
    assert first is None
    assert log_probs == (-loss.by_token).tolist()  # type: ignore[operator]
    assert -np.mean(log_probs) == pytest.approx(header["loss"], rel=1e-12)
    assert -sum(log_probs) / math.log(2) / header["bytes"] == pytest.approx(loss.bits_per_byte, rel=1e-12)


def test_bytes_that_are_no_character_are_written_in_hexadecimal(gpt: MakeGPT) -> None:
    ids = ByteTokenizer().encode('é"\n中')
    loss = validation_loss(gpt(vocab_size=256), ids, ByteTokenizer(), by_token=True)
    header, *lines = lines_of(loss, ids, ByteTokenizer())
    spelled = [bytes.fromhex(line["hex"]) if "hex" in line else line["text"].encode() for line in lines]
    assert b"".join(spelled).decode() == 'é"\n中'
    assert ["hex" in line for line in lines] == [True, True, False, False, True, True, True]
    assert header["bytes"] == 6  # the first is no target
    assert header["text_sha256"] == hashlib.sha256('é"\n中'.encode()).hexdigest()


@pytest.mark.parametrize("nats", [math.inf, math.nan])
def test_probability_of_zero_is_an_error(nats: float) -> None:
    loss = ValidationLoss(nats, nats, 2, np.array([1.0, nats]))
    with pytest.raises(NotFiniteError, match=r"^tokens: the loss of token 2 is (inf|nan): not finite$"):
        lines_of(loss, random_ids(3), LETTERS)


def test_certain_token_has_no_minus_zero() -> None:
    loss = ValidationLoss(0.0, 0.0, 1, np.array([0.0]))
    assert math.copysign(1, lines_of(loss, random_ids(2), LETTERS)[2]["log_prob"]) == 1
