"""The training, validation and test set of a text, in this order: by default the last 10 % validate, and none tests."""

from collections.abc import Callable
from typing import NamedTuple

from mingpt.core.errors import DataError, UsageError
from mingpt.core.token_ids import Ids, Tokenizer

FEWEST = 2  # tokens of a set, so that one follows another


class Split(NamedTuple):
    """Training set, validation set (held out from training) and test set of a text; they share no character.

    Attributes:
        test: the set that no run evaluates while it trains; None without data.test_fraction
    """

    train: Ids
    validation: Ids
    test: Ids | None = None

    @property
    def tokens(self) -> int:
        """Number of tokens of all sets."""
        return sum(len(part) for part in self if part is not None)


class Unit(NamedTuple):
    """What the sets' lengths are measured in.

    Attributes:
        length: text -> its number of units
        first: (text, n) -> the characters that end in the first n units
    """

    length: Callable[[str], int]
    first: Callable[[str, int], str]


CHARACTERS = Unit(len, lambda text, n: text[:n])
BYTES = Unit(lambda text: len(text.encode()), lambda text, n: text.encode()[:n].decode("utf-8", "ignore"))


def borders(length: int, val_fraction: float, test_fraction: float = 0.0) -> tuple[int, int]:
    """Return where the validation set and the test set begin in a text of `length` units.

    Each set that a text is to have gets at least two units, if there are as many.  Borders lie between characters, not
    tokens, so that no character is in two sets and every tokenizer is evaluated on the same text.
    """
    least = 2 * (1 + bool(test_fraction))  # units before and in the validation set
    test = min(max(int(length * (1 - test_fraction)), least), max(length - 2, 0)) if test_fraction else length
    validation = min(max(int(length * (1 - (val_fraction + test_fraction))), 2), max(test - 2, 0))
    return validation, test


def split(
    text: str,
    tokenizer: Tokenizer,
    *,
    block_size: int,
    val_fraction: float,
    test_fraction: float = 0.0,
    unit: Unit = CHARACTERS,
    source: str = "the text",
) -> Split:
    """Return the ids of each set; each has at least two tokens.

    Args:
        unit: unit in which the fractions are measured
        source: name of the text, for the error

    Raises:
        DataError: fewer than block_size + 1 tokens (two a set at least), or characters that the tokenizer doesn't know.
    """
    ends = borders(unit.length(text), val_fraction, test_fraction)
    first, second = (len(unit.first(text, end)) for end in ends)
    try:
        parts = [tokenizer.encode(part) for part in (text[:first], text[first:second], text[second:])]
    except UsageError as unknown:
        raise DataError(f"{source}: {unknown}") from None
    data = Split(*(parts if test_fraction else parts[:2]))
    require_long_enough(data, block_size=block_size, source=source)
    return data


def require_long_enough(data: Split, *, block_size: int, source: str) -> None:
    """Check that a text has one block and its targets, and each set a token that follows another."""
    sets = [
        (name, part) for name, part in zip(("training", "validation", "test"), data, strict=True) if part is not None
    ]
    fewest = FEWEST * len(sets)
    needed, found = max(block_size + 1, fewest), data.tokens
    if found < needed:
        smaller = f", or --data.block_size={found - 1}" if found >= fewest else ""
        raise DataError(
            f"{source}: too short: data.block_size={block_size} needs {needed} tokens, found {found}: "
            f"take a longer text{smaller}"
        )
    changes = {"training": "a smaller --data.val_fraction", "validation": "a larger --data.val_fraction"}
    for name, part in sets:
        if len(part) < FEWEST:
            raise DataError(
                f"{source}: too short: the {name} set needs {FEWEST} tokens, found {len(part)}: "
                f"take a longer text, or {changes.get(name, 'a larger --data.test_fraction')}"
            )
