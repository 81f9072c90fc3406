"""Per-token log-probabilities as JSON Lines: what `chargpt eval --tokens=FILE` writes, for `chargpt audit` and pandas.

The first line is a header: {"tokens": n, "bytes": n_bytes, "text_sha256": "...", "loss": nats, ...}, with the number of
scored tokens, the bytes of their UTF-8 text, the SHA-256 of the text of all tokens, and their mean loss in nats per
token, as it was computed and not from the lines.  Then one line a token of the text, in order, from position 0:
{"position": i, "token": id, "text": "...", "log_prob": nats}.  log_prob is log p(token | context), by the natural
logarithm; null for the first token, which has no prediction.  A token whose bytes are not UTF-8 by themselves has them
as "hex" in the place of "text".
"""

import hashlib
import json
from typing import Any, BinaryIO

import numpy as np

from mingpt.core.errors import NotFiniteError
from mingpt.core.token_ids import Ids, Tokenizer
from mingpt.inference.evaluate import ValidationLoss


def write(file: BinaryIO, loss: ValidationLoss, ids: Ids, tokenizer: Tokenizer, **facts: Any) -> None:
    """Write the header and a line for each token of `ids`.

    Args:
        file: open for writing
        loss: loss over `ids`, with the loss of each token
        facts: more facts for the header, as run and context

    Raises:
        NotFiniteError: a token has probability 0, or the model has diverged.
    """
    assert loss.by_token is not None
    wrong = np.flatnonzero(~np.isfinite(loss.by_token))
    if len(wrong):
        raise NotFiniteError(f"tokens: the loss of token {wrong[0] + 1} is {loss.by_token[wrong[0]]}: not finite")
    spelled = [tokenizer.spelling[token] for token in ids.tolist()]
    header = {
        "tokens": loss.tokens,
        "bytes": sum(map(len, spelled[1:])),
        "text_sha256": hashlib.sha256(b"".join(spelled)).hexdigest(),
        "loss": loss.nats,
        **facts,
    }
    file.write(_line(header))
    log_probs = [None, *(0.0 - loss.by_token).tolist()]
    for position, (token, text, log_prob) in enumerate(zip(ids.tolist(), spelled, log_probs, strict=True)):
        file.write(_line({"position": position, "token": token, **_text(text), "log_prob": log_prob}))


def _text(spelled: bytes) -> dict[str, str]:
    try:
        return {"text": spelled.decode()}
    except UnicodeDecodeError:
        return {"hex": spelled.hex()}


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
