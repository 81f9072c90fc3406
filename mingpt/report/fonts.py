"""Text that can be drawn: which fonts there are, and names without letters that none of them has.

DejaVu Sans comes with matplotlib and has no Chinese, Japanese or Korean; a font of FALLBACKS stands in, if installed.
A letter of no font is written as its code point, `\\u4e2d`, where matplotlib would draw a box and warn.
"""

import logging
import re
from functools import cache

OWN_FONT = "DejaVu Sans"
FALLBACKS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Noto Sans", "Noto Emoji", "Segoe UI Symbol"),
)
LONGEST = 64  # characters of a name next to an axis
LINE_OF_LEGEND, LONGEST_IN_LEGEND = 46, 184  # characters that stand in a line of a legend, and of a name in lines


@cache
def families() -> list[str]:
    """Names of the fonts that text is drawn in: the first that has a letter draws it."""
    from matplotlib.font_manager import fontManager

    # Many of them have one weight alone, of which matplotlib warns at each use.
    logging.getLogger(fontManager.__module__).addFilter(lambda record: "font weight" not in record.getMessage())
    installed = {font.name for font in fontManager.ttflist}
    return [OWN_FONT, *(name for name in FALLBACKS if name in installed)]


@cache
def _letters() -> frozenset[int]:
    """Code points of the letters that these fonts have."""
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    fonts = [FT2Font(findfont(FontProperties(family=[name]))) for name in families()]
    return frozenset(code for font in fonts for code in font.get_charmap())


def drawable(text: str) -> str:
    """`text` with every letter that no font has, or that can't be seen, as its code point."""
    known = _letters()
    return "".join(letter if letter.isprintable() and ord(letter) in known else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain(name: str, longest: int = LONGEST) -> str:
    """A name as matplotlib can write it: no mathematics, no letters that its fonts lack; the end of a line is ↵."""
    known = drawable(name.replace("\n", "↵"))
    return (known if len(known) <= longest else known[: longest - 1] + "…").replace("$", r"\$")


def in_lines(name: str, longest: int = LINE_OF_LEGEND) -> str:
    """A name as a legend has room for it: of several lines where it is long, broken after commas and spaces.

    Args:
        longest: most characters of a line.
    """
    lines = [""]
    for piece in re.findall(rf"[^, ]{{1,{longest}}}[, ]*|[, ]+", plain(name, LONGEST_IN_LEGEND)):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > longest:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines)
