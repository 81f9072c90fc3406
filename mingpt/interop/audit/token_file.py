"""A file of per-token log-probabilities, as `chargpt eval --tokens` writes it: JSON Lines, read as untrusted input.

The first line is a header, {"tokens": n, "bytes": n, "text_sha256": hex, "loss": nats}: how many tokens are scored, the
bytes of UTF-8 that these stand for, the digest of the whole text, and the mean loss as it was reported.  Each line
after it is a token, {"position": i, "token": id, "text": "...", "log_prob": nats}; log_prob is null where the token
has no prediction, as the first, and "hex" stands in the place of "text" for bytes that are no UTF-8.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mingpt.core.errors import DataError

LINE = 1 << 20  # bytes of a line at most
MOST = 1 << 26  # lines at most


@dataclass(frozen=True)
class TokenScores:
    """Log-probabilities of the tokens of a text.

    Attributes:
        header: what the file says of all of them
        positions: of each line
        log_probs: natural logarithms; None where a token has no prediction
        sizes: bytes of UTF-8 of each token
        sha256: digest of the bytes of all tokens in the order of the lines
    """

    header: dict[str, Any]
    positions: list[int]
    log_probs: list[float | None]
    sizes: list[int]
    sha256: str


def read(path: Path) -> TokenScores:
    """Read a file of scores.

    Raises:
        DataError: it can't be read, or a line isn't what it must be.
    """
    lines = _lines(path)
    header = next(lines, None)
    if header is None or "position" in header:
        raise DataError(f'{path}: line 1: must be a header, {{"tokens": ..., "bytes": ..., "loss": ...}}')
    positions: list[int] = []
    log_probs: list[float | None] = []
    sizes: list[int] = []
    digest = hashlib.sha256()
    for number, line in enumerate(lines, 2):
        position, log_prob = line.get("position"), line.get("log_prob")
        if not _is_number(position) or not (log_prob is None or _is_number(log_prob)):
            raise DataError(f"{path}: line {number}: must have a position, and a log_prob that is a number or null")
        spelled = _bytes(line, path, number)
        digest.update(spelled)
        positions.append(int(position or 0))
        log_probs.append(None if log_prob is None else float(log_prob))
        sizes.append(len(spelled))
    if not any(log_prob is not None for log_prob in log_probs):
        raise DataError(f"{path}: no token has a log_prob")
    return TokenScores(header, positions, log_probs, sizes, digest.hexdigest())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for number in range(1, MOST):
                content = file.readline(LINE)
                if not content:
                    return
                if len(content) == LINE:
                    raise DataError(f"{path}: line {number}: longer than {LINE} bytes")
                found = json.loads(content)
                if not isinstance(found, dict):
                    raise ValueError("no object")
                yield found
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: line {number}: must be a JSON object") from None


def _bytes(line: dict[str, Any], path: Path, number: int) -> bytes:
    text, digits = line.get("text"), line.get("hex")
    try:
        if isinstance(text, str):
            return text.encode()
        if isinstance(digits, str):
            return bytes.fromhex(digits)
    except ValueError:
        pass
    raise DataError(f'{path}: line {number}: must have its "text", or its bytes as "hex"')


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
