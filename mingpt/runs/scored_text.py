"""The text that a trained model is scored on: its run's own validation or test set, or a file."""

from dataclasses import replace
from pathlib import Path

from mingpt.core.errors import DataError, UsageError, require
from mingpt.core.paths import shown
from mingpt.core.token_ids import Ids, Tokenizer
from mingpt.data import text_files
from mingpt.data.data_config import DataConfig
from mingpt.data.dataset import prepare
from mingpt.data.prepared_folder import is_prepared
from mingpt.data.shakespeare import read_text
from mingpt.data.text_files import DOWNLOADED, STDIN, given_as, is_there
from mingpt.runs import run_dir

HALF = "\ufffd"  # what stands for part of a character


def scored_ids(folder: Path, config: DataConfig, tokenizer: Tokenizer, path: str | None, split: str) -> Ids:
    """Return the token ids of all of the file at `path`, or of a set of the run in `folder`.

    Args:
        config: the run's settings of its text
        path: a file; None: the run's own text
        split: validation or test, of the run's own text

    Raises:
        UsageError: the run has no such set.
        DataError: no such text, one with unknown characters, or no longer the one that the run began with.
    """
    if path is None:
        corpus = prepare(replace(config, path=_own_text(folder, config)), tokenizer)
        if corpus.sha256 != run_dir.environment(folder)["text_sha256"]:
            changed = f"no longer the text that {shown(folder)} began with; --text scores another"
            raise DataError(f"{corpus.source}: {changed}")
        found = {"validation": corpus.data.validation, "test": corpus.data.test}[split]
        rule = f"{shown(folder)} has no test set; --data.test_fraction=0.1 trains a run that has one"
        require(found is not None, "split", split, rule)
        assert found is not None
        return found
    with given_as("text"):
        text = read_text(path)
    try:
        return tokenizer.encode(text.content)
    except UsageError as unknown:
        raise DataError(f"{text.source}: {unknown}") from None


def encoded(text: str, tokenizer: Tokenizer, name: str) -> Ids:
    """Return the ids of what a person gave as the setting `name`.

    Raises:
        UsageError: names the setting and the characters outside the vocabulary.
    """
    try:
        return tokenizer.encode(text)
    except UsageError as unknown:
        hint = r"; a line break is typed $'\n' in bash and zsh" if r"\n" in text else ""
        raise UsageError(f"{name}: {unknown}{hint}") from None


def beginning(ids: Ids, tokenizer: Tokenizer, most: int) -> str:
    """Return the text of the first ids, at most so many tokens, without half a character at its end."""
    text = tokenizer.decode(ids[:most].tolist()).rstrip(HALF)
    while len(tokenizer.encode(text)) > most:  # as where the cut was inside a word
        text = text[:-1]
    return text


def name_of(folder: Path, path: str | None) -> str:
    """Return what errors call that text."""
    return shown(folder) if path is None else text_files.shown(path)


def _own_text(folder: Path, config: DataConfig) -> str:
    """Return where the run's text lies, from any current folder; never a reason to write it again."""
    path: str | None = run_dir.environment(folder)["text"]
    if path is None:
        raise DataError(f"{shown(folder)}: imported, so it has no text of its own; name one with --text")
    if path == STDIN:
        raise DataError(f"{shown(folder)}: its text came from standard input and is kept nowhere; name one with --text")
    if config.path in DOWNLOADED:  # wherever it is kept
        return config.path
    if not is_there(path) and not is_prepared(path):
        raise DataError(f"{shown(folder)}: its text is no longer at {text_files.shown(path)}; name one with --text")
    return path
