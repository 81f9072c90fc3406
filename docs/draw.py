"""Draw the pictures of docs/ideas and of docs/audit.md: `python docs/draw.py [FOLDER]`; versions fix the bytes."""

import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from pictures import attention, audit, bidirectional, cache, heads, ngrams, positions, recurrence, symmetry, window  # noqa: E402
from pictures.sheet import Sheet  # noqa: E402

PICTURES: dict[str, Callable[[], Sheet]] = {
    "recurrence": recurrence.draw,
    "bidirectional": bidirectional.draw,
    "attention": attention.draw,
    "symmetry": symmetry.draw,
    "window": window.draw,
    "positions": positions.draw,
    "grouped-heads": heads.draw,
    "cache": cache.draw,
    "ngrams": ngrams.draw,
}
OF_PAGES: dict[str, Callable[[], Sheet]] = {"audit": audit.draw}  # next to the page of the same name


def main(folder: Path | None = None) -> None:
    """Draw every picture into `folder`, or each to its place."""
    for where, pictures in ((HERE / "ideas", PICTURES), (HERE, OF_PAGES)):
        for name, draw in pictures.items():
            draw().save((folder or where) / f"{name}.svg")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:2]))
