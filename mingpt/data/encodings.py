"""Guess the encoding of a file that is not UTF-8, and name the command that converts it.

The guess is only for the error message: a text is never read in a guessed encoding.
"""

import codecs
import shlex

SHORTEST = 16  # bytes from which it can be seen that text is UTF-16 or UTF-32 without a mark
MOSTLY = 0.9  # of characters or bytes
MOST_HIGH = 0.3  # of the bytes of a Western text in one byte a letter are above 127; of Cyrillic or Asian ones more

_MARKS = {  # what other encodings start with; UTF-32 first, because its little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_OTHERS = {  # what files that are no text start with: what they are, and how text comes out of one
    b"\x89PNG": ("a PNG picture", ""),
    b"\xff\xd8\xff": ("a JPEG picture", ""),
    b"GIF8": ("a GIF picture", ""),
    b"%PDF": ("a PDF document", "`pdftotext {}`"),
    b"\x1f\x8b": ("packed by gzip", "`gzip -dc {} > text.txt`"),
    b"BZh": ("packed by bzip2", "`bzip2 -dc {} > text.txt`"),
    b"\xfd7zXZ": ("packed by xz", "`xz -dc {} > text.txt`"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "`zstd -dc {} > text.txt`"),
    b"PK\x03\x04": ("packed by zip, as office documents are: save it as plain text", ""),
}


def unmarked(start: bytes) -> str | None:
    """The encoding of a text that begins so and is UTF-16 or UTF-32 without a byte order mark; None of any other.

    Letters of many scripts have a high byte below 9 there, 0 in Latin ones, so that such text is valid UTF-8, too.
    """
    if len(start) < SHORTEST or b"\0" not in start or start.startswith(tuple(_MARKS)):
        return None
    for name in ("UTF-32LE", "UTF-32BE"):
        if _is_text(start, name):
            return name
    odd, even = (sum(byte < 9 for byte in half) / len(half) for half in (start[1::2], start[::2]))
    for name, high, low in (("UTF-16LE", odd, even), ("UTF-16BE", even, odd)):
        if high >= MOSTLY and low <= 1 - MOSTLY:
            return name
    return None


def converted(name: str, encoding: str) -> str:
    """The command that makes UTF-8 of the file `name`."""
    return f"`iconv -f {encoding} -t UTF-8 {shlex.quote(name)} > utf8.txt`"


def remedy(name: str, start: bytes, block: bytes) -> str:
    """What to do about a file that is not UTF-8.

    Args:
        name: name of the file, for a shell; "-": standard input.
        start: the file's first bytes.
        block: those around the first that is wrong.
    """
    marked = next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)
    if marked:
        return f"the start looks like {marked}: {converted(name, marked)}"
    kind, way = next((what for mark, what in _OTHERS.items() if start.startswith(mark)), ("", ""))
    if kind:
        unpacked = f": {way.format(shlex.quote(name))}" if way and name != "-" else ""
        return f"it is no text, but {kind}{unpacked}"
    if b"\0" in start:
        wide = next((each for each in ("UTF-16LE", "UTF-16BE") if _is_text(start, each)), None)
        if wide:
            return f"it looks like {wide} without a byte order mark: {converted(name, wide)}"
        return "it is no text, but binary (it holds NUL bytes)"
    return _of_one_byte(name, block)


def _of_one_byte(name: str, block: bytes) -> str:
    """`remedy` for text without NULs: damaged UTF-8, or an encoding of one byte a letter."""
    read = block.decode("utf-8", "surrogateescape")
    wrong = [character for character in read if "\udc80" <= character <= "\udcff"]
    right = sum(character > "\x7f" for character in read) - len(wrong)
    if right and right >= len(wrong):
        cut = f"`iconv -c -f UTF-8 -t UTF-8 {shlex.quote(name)} > utf8.txt`"
        return f"the text around it is good UTF-8, so it is damaged there: repair it, or leave such bytes out by {cut}"
    high = [byte for byte in block if byte > 127]
    if len(high) > MOST_HIGH * len(block):
        return f"its encoding can't be guessed; ask where it comes from: {converted(name, 'ENCODING')}"
    if all(byte > 0x9F for byte in high):  # there the two are the same
        return f"if it is Latin-1 or Windows-1252: {converted(name, 'WINDOWS-1252')}"
    try:
        block.decode("cp1252")
    except UnicodeDecodeError:
        return f"it is neither Latin-1 nor Windows-1252; ask where it comes from: {converted(name, 'ENCODING')}"
    return f"if it is Windows-1252, as Western text of Windows is: {converted(name, 'WINDOWS-1252')}"


def _is_text(content: bytes, encoding: str) -> bool:
    """Whether the bytes are of that encoding: nearly all of their characters such as texts hold, some of them Latin."""
    try:  # what is cut at the end is left out
        characters = codecs.getincrementaldecoder(encoding)("strict").decode(content)
    except UnicodeDecodeError:
        return False
    plain = sum(character.isprintable() or character in "\t\n\f\r" for character in characters)
    return plain >= MOSTLY * len(characters) and any(
        " " <= character <= "~" or character == "\n" for character in characters
    )
