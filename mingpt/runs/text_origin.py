"""Resolve the paths in settings files, and check that a run's text is still the one that it was trained on.

A relative path starts at the folder where the command was started, as on the command line.  If it exists only next to
the settings file, that one is meant; if it exists in both places, that is an error.  The config.yaml of an old run may
name its text by a relative path; its environment.json has the absolute one.  A run's text is compared with the sha256
in environment.json, so that no run trains on a changed text unnoticed.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mingpt.core import paths
from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.core.run_files.reading import Record, read_json
from mingpt.core.run_files.records import STARTS_FROM, Environment
from mingpt.data import prepared_folder, text_files
from mingpt.data.data_config import FILE_NAME
from mingpt.data.downloads import DOWNLOADS
from mingpt.data.shakespeare import SHAKESPEARE_SHA256

TEXT, TOKENIZER = "data.path", "data.tokenizer"
ENVIRONMENT = "environment.json"


def placed(given: Mapping[str, Any], file_of: Mapping[str, Path]) -> dict[str, Any]:
    """Return the settings with the paths that come from files resolved, after checking the text of a run.

    Args:
        given: settings by key.
        file_of: the file that a setting comes from, by key; without those that come from flags.

    Raises:
        UsageError: a relative path exists both in the current folder and next to the file.
        DataError: a run's text is gone, or has changed.
        CheckpointError: a damaged environment.json.
    """
    found = placed_unchecked(given, file_of)
    if TEXT in file_of and isinstance(found.get(TEXT), str):
        _require_same_text(found[TEXT], file_of[TEXT].parent)
    return found


def placed_unchecked(given: Mapping[str, Any], file_of: Mapping[str, Path]) -> dict[str, Any]:
    """Do the same as `placed` without checking the text."""
    found = _tokenizer_placed(_of_its_run(given, file_of), file_of)
    for key in (TEXT, STARTS_FROM):
        value = found.get(key)
        if key in file_of and isinstance(value, str) and value:
            found[key] = _meant(key, value, file_of[key])
    return found


def as_of_its_run(given: Mapping[str, Any], file_of: Mapping[str, Path]) -> dict[str, Any]:
    """Return the settings of a run that is loaded, with its own tokenizer and, if known, its text's absolute path."""
    try:
        found = _of_its_run(given, file_of)
    except CheckpointError:  # nothing depends on the text
        found = dict(given)
    return _tokenizer_placed(found, file_of)


def text_is_gone(folder: Path, path: str) -> DataError:
    """Return the error for a run in `folder` whose text is not at `path` any more."""
    where = f"{paths.shown(folder)}: its text is no longer at {text_files.shown(path)}"
    return DataError(f"{where}; name it with --data.path=FILE")


def is_there(path: str) -> bool:
    """Whether a text lies at `path`, or can be made or downloaded."""
    return text_files.is_name(path) or _is_text(path)


def _environment(folder: Path) -> Record:
    return read_json(folder / ENVIRONMENT, Environment)


def _of_its_run(given: Mapping[str, Any], file_of: Mapping[str, Path]) -> dict[str, Any]:
    path = given.get(TEXT)
    if TEXT not in file_of or not isinstance(path, str) or path in (text_files.STDIN, *DOWNLOADS):
        return dict(given)
    own = _environment(file_of[TEXT].parent).get("text") if text_files.is_relative(path) else None
    return {**given, TEXT: own} if own else dict(given)


def _tokenizer_placed(given: dict[str, Any], file_of: Mapping[str, Path]) -> dict[str, Any]:
    """Resolve a tokenizer that lies next to the settings file, so that it is found in a folder that was moved."""
    name = given.get(TOKENIZER)
    if TOKENIZER not in file_of or not isinstance(name, str) or not name.endswith(FILE_NAME):
        return given
    own = paths.absolute(name, file_of[TOKENIZER].parent)
    return {**given, TOKENIZER: own} if Path(own).is_file() else given


def _meant(key: str, value: str, file: Path) -> str:
    absolute, exists = (text_files.absolute, _is_text) if key == TEXT else (paths.absolute, _exists)
    here, there = absolute(value), absolute(value, file.parent)
    if here == there or not exists(there):
        return value
    if not exists(here):
        return there
    if Path(here).resolve() != Path(there).resolve():
        raise UsageError(
            f"{key}={value} of {paths.shown(file)}: lies both in the current folder and next to that file; "
            f"name the one that is meant: --{key}={text_files.shown(here)} or --{key}={text_files.shown(there)}"
        )
    return here


def _is_text(path: str) -> bool:
    return text_files.is_there(path) or prepared_folder.is_prepared(path)


def _exists(path: str) -> bool:
    return Path(path).exists()


def _require_same_text(path: str, folder: Path) -> None:
    """Check that the text has not changed since the run in `folder`, if there is one, began with it."""
    environment = _environment(folder)
    own, expected = environment.get("text"), environment.get("text_sha256")
    if expected is None or path == text_files.STDIN or not (path == own or text_files.is_name(path)):
        return
    if not is_there(path):
        raise text_is_gone(folder, path)
    if sha256_of(path) != expected:
        raise DataError(
            f"{text_files.shown(path)}: no longer the text that {paths.shown(folder)} was trained on (sha256 differs); "
            f"--data.path={text_files.shown(path)} takes it as it is"
        )


def sha256_of(path: str) -> str:
    """The sha256 that a text at `path` has now, or would have once it is made or downloaded.

    Raises:
        DataError: it can't be read.
    """
    if path in DOWNLOADS:
        return DOWNLOADS[path].sha256
    if path != text_files.STDIN and text_files.is_name(path):
        return SHAKESPEARE_SHA256
    if prepared_folder.is_prepared(path):
        return prepared_folder.text_sha256_of(paths.path_of(path))
    digest = hashlib.sha256()
    for _ in text_files.chunks(text_files.files_of(path), digest):
        pass
    return digest.hexdigest()
