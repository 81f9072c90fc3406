"""The training set and the validation set of a text: by default the validation set is its last 10 %."""

from typing import NamedTuple

from mingpt.core.errors import DataError, UsageError
from mingpt.core.token_ids import Ids
from mingpt.data.tokenizers import Tokenizer

FEWEST = 4  # tokens of a text: two to train on, two held out, so that one follows another in each


class Split(NamedTuple):
    """Training set and validation set (held out from training) of a text; they share no character."""

    train: Ids
    validation: Ids


def border(characters: int, val_fraction: float) -> int:
    """Return the character at which the validation set begins, the last `val_fraction` of the text.

    Each set has at least two characters if there are four.  The border lies between characters, not tokens, so that no
    character is in both sets and every tokenizer is evaluated on the same text.
    """
    return min(max(int(characters * (1 - val_fraction)), 2), max(characters - 2, 0))


def split(text: str, tokenizer: Tokenizer, *, block_size: int, val_fraction: float, source: str = "the text") -> Split:
    """Return the ids of the training set and of the validation set; each has at least two tokens.

    Args:
        source: of the text, for the error.

    Raises:
        DataError: fewer than block_size + 1 tokens (4 at least), or characters that the tokenizer doesn't know.
    """
    at = border(len(text), val_fraction)
    try:
        data = Split(tokenizer.encode(text[:at]), tokenizer.encode(text[at:]))
    except UsageError as unknown:
        raise DataError(f"{source}: {unknown}") from None
    require_long_enough(data, block_size=block_size, source=source)
    return data


def require_long_enough(data: Split, *, block_size: int, source: str) -> None:
    """Check that a text has one block and its targets, or a part without a token that follows another."""
    needed, found = max(block_size + 1, FEWEST), len(data.train) + len(data.validation)
    if found < needed:
        smaller = (
            f", or --data.block_size={found - 1}" if found >= FEWEST else f"; no text of fewer than {FEWEST} will do"
        )
        raise DataError(
            f"{source}: too short: data.block_size={block_size} needs {needed} tokens, found {found}: "
            f"take a longer text{smaller}"
        )
    for name, part, change in (("to train on", data.train, "smaller"), ("to evaluate on", data.validation, "larger")):
        if len(part) < 2:
            raise DataError(
                f"{source}: too short: the part {name} needs 2 tokens, found {len(part)}: "
                f"take a longer text, or a {change} --data.val_fraction"
            )
