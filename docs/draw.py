"""Draw the pictures of docs/ideas: `python docs/draw.py [FOLDER]`.  The same versions draw the same bytes."""

import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from pictures import attention, bidirectional, cache, heads, ngrams, positions, recurrence, symmetry, window  # noqa: E402
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


def main(folder: Path = HERE / "ideas") -> None:
    """Draw every picture into `folder`."""
    for name, draw in PICTURES.items():
        draw().save(folder / f"{name}.svg")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:2]))
