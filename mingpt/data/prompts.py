"""What the samples of a run begin with: its setting `sample.prompts`, or the commonest beginnings of its own text."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mingpt.core.errors import UsageError
from mingpt.core.token_ids import Ids, Tokenizer
from mingpt.data.data_config import SampleConfig

COUNT = 3  # prompts taken from a text
WHOLE_LINE = 24  # characters of a line that is a prompt as it stands; of a longer one its first words are
FIRST_WORDS = 12  # characters of these, unless the first word is longer
FEW = 8  # paragraphs; a text with fewer is taken line by line
PIECES, PIECE = 16, 1 << 14  # places of a long training text that are looked at, and tokens at each
BROKEN = "\ufffd"  # what stands for part of a character


def prompts_for(config: SampleConfig, train: Ids, tokenizer: Tokenizer, before: Sequence[str] = ()) -> list[str]:
    """The prompts of a run, one at least.

    Args:
        train: the ids of the training text.
        before: the prompts that a resumed run began with.

    Raises:
        UsageError: a prompt has characters outside the vocabulary.
    """
    chosen = list(config.prompts or before)
    for prompt in chosen:
        try:
            tokenizer.encode(prompt)
        except UsageError as unknown:
            raise UsageError(f"sample.prompts={prompt!r}: {unknown}") from None
    return chosen or beginnings(train, tokenizer)


def beginnings(train: Ids, tokenizer: Tokenizer) -> list[str]:
    """The commonest beginnings of paragraphs in a text, the first of equally common ones first; `[""]` without any.

    A short line that begins a paragraph counts as it stands (a speaker's name, `else:`), of a longer one its first
    words do.  Lines follow from the ids alone, so every process and every resumed run finds the same.

    Args:
        train: ids of the text; of more than 16 x 16384, as many at evenly spread places.
    """
    found = Counter(map(_beginning, _openings([*_pieces(train, tokenizer)])))
    usable = [text for text, _ in found.most_common() if _usable(text, tokenizer)]
    return usable[:COUNT] or [""]


def _pieces(train: Ids, tokenizer: Tokenizer) -> Iterator[list[str]]:
    """The lines of some places of the text: first the one above them, then those that are not cut."""
    if len(train) <= PIECES * PIECE:
        starts, longest = [0], len(train)
    else:
        starts, longest = [place * (len(train) - PIECE) // (PIECES - 1) for place in range(PIECES)], PIECE
    for start in starts:
        text = tokenizer.decode(train[start : start + longest].tolist())
        lines = re.split("\r\n|\n|\r", text)
        yield [lines[0], *(lines[1:-1] or lines)] if start else ["", *(lines[:-1] or lines)]


def _openings(pieces: list[list[str]]) -> list[str]:
    """The first lines of paragraphs, which an empty line parts; of a text that has hardly any, all lines."""
    lines = [[line.strip() for line in piece] for piece in pieces]
    first = [line for piece in lines for above, line in itertools.pairwise(piece) if line and not above]
    return first if len(first) >= FEW else [line for piece in lines for line in piece[1:]]


def _beginning(line: str) -> str:
    if len(line) <= WHOLE_LINE:
        return line
    end = line.rfind(" ", 1, FIRST_WORDS + 1)
    if end < 0:
        end = line.find(" ", FIRST_WORDS, WHOLE_LINE)
    return line[: end if end > 0 else FIRST_WORDS]


def _usable(text: str, tokenizer: Tokenizer) -> bool:
    """Whether people can read it as a prompt, and the vocabulary spell it."""
    if not text.isprintable() or BROKEN in text or not any(c.isalpha() for c in text):
        return False
    try:
        return tokenizer.decode(tokenizer.encode(text).tolist()).strip() == text
    except UsageError:
        return False
