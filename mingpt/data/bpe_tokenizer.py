"""Tokenizers of the `tokenizers` library: byte-level BPE learned from a text, and whatever a tokenizer.json holds."""

import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np

from mingpt.core.errors import UsageError
from mingpt.core.token_ids import Ids
from mingpt.data.data_config import VOCAB_SIZE
from mingpt.data.tokenizer_base import cut, smallest_type, unknown_characters, utf8
from mingpt.data.tokenizer_json import added_tokens, bytes_of, loses_nothing, without_prefix

PIECES_AT_ONCE = 64  # that share the processor's cores
HIGHEST = 1 << 24  # of an id, beyond which a table of all would not fit
WORDS_HELD = 1 << 23  # characters of words whose ids are remembered
LEARNED_FROM = 32_000_000  # characters, which bounds memory and time where words come again;
LEARNED_WORDS = 2_000_000  # characters of different words, where they don't, as without spaces
LONGEST_WORD = 1000  # characters, in learning alone, whose time grows with their square
# What a byte-level tokenizer joins nothing across: a word with the space before it; white space but for its last.
_WHITE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
WORDS = re.compile(f" ?[^{_WHITE}]+|[{_WHITE}]+(?![^{_WHITE}])|[{_WHITE}]+")
LONGEST_ADDED = 256  # characters of an added token that is looked for where a text is cut
FORMS: tuple[Literal["NFC", "NFKC", "NFD", "NFKD"], ...] = ("NFC", "NFKC", "NFD", "NFKD")
BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")  # how others name a byte


class LibraryTokenizer:
    """Whatever a tokenizer.json of the `tokenizers` library describes; `of` a text, byte-level BPE.

    Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) begins with the 256 bytes and joins, again and again, the
    two neighbours that stand together most often.  It writes any text.

    Every text that it takes, it gives back: one that normalises or drops characters rejects those that it would change.
    One that puts a space before a text does so once, where it takes it away again, and not at all where it doesn't.

    Args:
        content: content of the file.

    Attributes:
        special: the special tokens that are matched in texts, by id.

    Raises:
        ValueError: it describes no tokenizer, or one that draws how it cuts a text (`dropout`).
    """

    learns: ClassVar[bool] = True
    unit: ClassVar[str] = "token"

    def __init__(self, content: str) -> None:
        from tokenizers import Tokenizer as Library  # 0.1 s, and only where it is needed

        described = json.loads(content)
        if described["model"].get("dropout"):
            raise ValueError("it draws how it cuts a text (model.dropout)")
        plain = without_prefix(described)
        try:
            self._library = Library.from_str(content)
            self._inside = Library.from_str(json.dumps(plain)) if plain else self._library  # of a text, but its start
        except Exception as error:  # the library raises nothing finer
            raise ValueError(" ".join(str(error).split())) from None
        for each in (self._library, self._inside):
            each.no_truncation()
            each.no_padding()
        self._content = content
        self._tokens: dict[int, str] = {id: token for token, id in self._library.get_vocab().items()}
        if not self._tokens:
            raise ValueError("it has no tokens")
        added = described.get("added_tokens") or []
        self.special: dict[int, str] = {each["id"]: each["content"] for each in added if each.get("special")}
        self._added = added_tokens(described)
        model = described["model"]
        self._unk = model.get("unk_id", self._library.token_to_id(str(model.get("unk_token"))))
        self.vocab_size = max(self._tokens) + 1
        if self.vocab_size > HIGHEST:
            raise ValueError(f"its ids go up to {self.vocab_size - 1}")
        self._dtype = smallest_type(self.vocab_size)
        self._in_bytes = (described.get("decoder") or {}).get("type") == "ByteLevel"
        self._takes_all = self._in_bytes and loses_nothing(described)
        self._of_word: dict[str, bytes] = {}  # its ids, as they lie in an array
        self._held = 0  # characters of these

    @classmethod
    def of(cls, pieces: Iterable[str], vocab_size: int = VOCAB_SIZE) -> Self:
        """Byte-level BPE of at most `vocab_size` tokens; no pair is joined that stands in the text once.

        Pairs are counted in all of the text; of a long one in pieces that are spread over it.
        """
        from tokenizers import Tokenizer as Library
        from tokenizers import decoders, models, pre_tokenizers, trainers

        library = Library(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        library.train_from_iterator(_spread((pieces,) if isinstance(pieces, str) else pieces), trainer)
        return cls(library.to_str() + "\n")

    @classmethod
    def read(cls, described: Any, content: str) -> Self:
        return cls(content)

    @functools.cached_property
    def spelling(self) -> Sequence[bytes]:
        return [self._spelled(id) for id in range(self.vocab_size)]

    def _spelled(self, id: int) -> bytes:
        token = self._tokens.get(id, "")
        if self._in_bytes:
            return bytes_of(token)
        if BYTE.fullmatch(token):
            return bytes([int(token[3:5], 16)])
        before = self.decode([self._anchor])  # since some drop the space that a text begins with
        return self.decode([self._anchor, id])[len(before) :].encode()

    @functools.cached_property
    def _anchor(self) -> int:
        return next((id for id in sorted(self._tokens) if self.decode([id]).isalnum()), min(self._tokens))

    def encode(self, text: str) -> Ids:
        """Ids of the text, which is tokenized in pieces (see `cut`).

        Raises:
            UsageError: a text that it would not give back; unknown characters are listed.
        """
        return np.concatenate([np.empty(0, dtype=self._dtype), *self.encode_each(cut([text]))])

    def encode_each(self, pieces: Iterable[str]) -> Iterator[Ids]:
        """Ids of each piece, as they come; see `encode`."""
        yield from map(self._by_words, pieces) if self._takes_all else self._as_they_are(pieces)

    def _by_words(self, piece: str) -> Ids:
        """What the library makes of a piece, in a third of the time: of each word once, since nothing is joined across.

        Most words of a text come again, and the library looks at each as if it were new.
        """
        utf8(piece)
        words = WORDS.findall(piece)
        if self._held > WORDS_HELD:
            self._of_word.clear()
            self._held = 0
        new = list(set(words).difference(self._of_word))
        for word, found in zip(new, self._library.encode_batch_fast(new, add_special_tokens=False), strict=True):
            self._of_word[word] = np.array(found.ids, self._dtype).tobytes()
            self._held += len(word)
        return np.frombuffer(b"".join(map(self._of_word.__getitem__, words)), self._dtype)

    def _as_they_are(self, pieces: Iterable[str]) -> Iterator[Ids]:
        left = self._cut_between_tokens(pieces)
        first = next(left, None)
        if first is None:
            return
        before = self._beginning(first)
        yield np.array(before, self._dtype)
        while some := list(itertools.islice(left, PIECES_AT_ONCE)):
            for piece, ids in zip(some, self._found(self._inside, some), strict=True):
                self._check_comes_back(piece, ids, before)
                yield np.array(ids, self._dtype)
                before = ids

    def _cut_between_tokens(self, pieces: Iterable[str]) -> Iterator[str]:
        """The same text, cut nowhere inside an added token, such as `<|end of text|>`."""
        held = ""
        for piece in pieces:
            start = max(len(held) - LONGEST_ADDED, 0)
            near = held[start:] + piece[:LONGEST_ADDED]
            for token in self._added.finditer(near) if held and self._added else ():
                if token.start() < len(held) - start < token.end():
                    held, piece = held[: start + token.start()], held[start + token.start() :] + piece
                    break
            if held:
                yield held
            held = piece
        if held:
            yield held

    def _beginning(self, piece: str) -> list[int]:
        """Ids of the first piece of a text: with the tokenizer's own prefix where it gives the text back."""
        found = self._found(self._library, [piece])[0]
        if self.decode(found) != piece and self._inside is not self._library:
            token = self._added.search(piece) if self._added else None
            at = token.start() if token else 0  # what follows an added token has a prefix again, which isn't taken away
            for before, inside in ((piece[:at], piece[at:]), ("", piece), ("", f" {piece}")):
                ids = [*self._found(self._library, [before])[0], *self._found(self._inside, [inside])[0]]
                if self.decode(ids) == piece:
                    found = ids
                    break
        self._check_comes_back(piece, found, [])
        return found

    def _found(self, library: Any, pieces: list[str]) -> list[list[int]]:
        """What `library` makes of each piece, by all of the processor's cores."""
        for piece in pieces:
            utf8(piece)
        try:
            return [found.ids for found in library.encode_batch_fast(pieces, add_special_tokens=False)]
        except Exception as error:  # as of words whose unk_token is none of them; the library raises nothing finer
            if unknown := self._unknown("".join(pieces)):
                raise unknown_characters(unknown, self.vocab_size) from None
            raise UsageError(f"this tokenizer can't take the text: {' '.join(str(error).split())}") from None

    def _check_comes_back(self, text: str, ids: list[int], before: list[int]) -> None:
        """Check that `ids`, after those of the piece `before`, are decoded and spelled as `text`.

        Raises:
            UsageError: they don't; names what they give.
        """
        context = self._end_of(before)
        known, back = self.decode(context), self.decode([*context, *ids])
        if back != known + text:
            raise self._not_given_back(text, back.removeprefix(known))
        spelled, right = b"".join(self.spelling[id] for id in ids), text.encode()
        if spelled != right and (context or spelled != b" " + right):  # a prefix is no part of the text
            raise UsageError("the bytes of this tokenizer's tokens aren't the text's")

    def _end_of(self, ids: list[int]) -> list[int]:
        """The fewest last ids that are whole characters: what is decoded after them is so as inside a text."""
        for number in range(1, min(len(ids), 8) + 1):
            spelled = b"".join(self.spelling[id] for id in ids[-number:])
            if spelled and spelled == spelled.decode("utf-8", "ignore").encode():
                return ids[-number:]
        return []

    def _not_given_back(self, text: str, back: str) -> UsageError:
        forms = [form for form in FORMS if unicodedata.normalize(form, text) == back]
        if not forms and (unknown := self._unknown(text)):
            return unknown_characters(unknown, self.vocab_size)
        at = next((n for n, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back)))
        fix = f", since it normalises texts: give it one that is in {forms[0]}" if forms else ""
        return UsageError(f"this tokenizer gives {back[at : at + 20]!a} back for {text[at : at + 20]!a}{fix}")

    def _unknown(self, text: str) -> set[str]:
        """The characters that have no ids, or that of the unknown token."""
        unknown = set()
        for c in set(text):
            try:
                ids = self._inside.encode(c, add_special_tokens=False).ids
            except Exception:  # as above
                ids = []
            if not ids or self._unk in ids:
                unknown.add(c)
        return unknown

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; U+FFFD for bytes that are none."""
        return str(self._library.decode([int(id) for id in ids], skip_special_tokens=False))

    def has(self, token: str) -> bool:
        """Whether `token` is one of the vocabulary, or was added to it."""
        return self._library.token_to_id(token) is not None

    def to_json(self) -> str:
        """The file, as it was."""
        return self._content


def _spread(chunks: Iterable[str]) -> list[str]:
    """A text in pieces to learn from; every second, fourth, ... of one that has more to learn from than is allowed."""
    kept: list[str] = []
    words, characters, held, apart = set[str](), 0, 0, 1  # those of kept pieces, and characters of both
    for number, piece in enumerate(cut(chunks, LONGEST_WORD)):
        if number % apart:
            continue
        if characters > LEARNED_FROM or held > LEARNED_WORDS:
            kept, apart = kept[::2], 2 * apart
            words = {word for piece in kept for word in WORDS.findall(piece)}
            characters, held = (sum(map(len, each)) for each in (kept, words))
            if number % apart:
                continue
        new = set(WORDS.findall(piece)).difference(words)
        words |= new
        kept.append(piece)
        characters, held = characters + len(piece), held + sum(map(len, new))
    return kept
