"""The identity of a trial: its resolved settings, its seed, and the content of its inputs; not where they lie.

Whatever changes a trial is part of its id, so that two trials of one id are the same trial: a text or weights that
moved keep it, and a file that was changed in its place does not.  Left out is what changes no result: the run folder,
the W&B logger.
"""

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mingpt.core.atomic_io import sha256
from mingpt.core.errors import DataError, MingptError
from mingpt.core.paths import path_of
from mingpt.core.run_files.reading import readable
from mingpt.core.safe_parsing import TOKENIZER_BYTES, parse_json, read_at_most
from mingpt.core.setting_roles import changes_no_result
from mingpt.core.version import VERSION
from mingpt.data.data_config import FILE_NAME
from mingpt.data.prepared_folder import is_prepared, tokenizer_sha256_of
from mingpt.data.text_files import reason
from mingpt.experiments.base_config import BASE
from mingpt.runs import checkpoint
from mingpt.runs.config import Config, defaults
from mingpt.runs.text_origin import sha256_of

logger = logging.getLogger(__name__)

Inputs = Mapping[str, str]  # sha256 of everything that a trial reads in addition to its settings, by kind
LENGTH = 16  # hexadecimal digits of an id


def inputs_of(config: Config, text: str) -> Inputs:
    """`text`; and `tokenizer` and `weights`, where the settings name a file or a run folder.

    Args:
        text: sha256 of the text.

    Raises:
        DataError: a tokenizer that can't be read.
        CheckpointError: a run folder without a valid checkpoint.
    """
    found = {"text": text}
    if is_prepared(config.data.path):
        found["tokenizer"] = tokenizer_sha256_of(path_of(config.data.path))
    elif config.data.tokenizer.endswith(FILE_NAME):
        found["tokenizer"] = _tokenizer(config.data.tokenizer)
    if config.pretrained_folder is not None:
        found["weights"] = weights(path_of(config.pretrained_folder))
    return found


def _tokenizer(path: str) -> str:
    try:
        return sha256(read_at_most(TOKENIZER_BYTES, path_of(path)))
    except (OSError, ValueError) as error:
        raise DataError(f"data.tokenizer={path}: cannot be read: {reason(error)}") from None


def weights(run: Path) -> str:
    """sha256 of the newest weights in the run folder, the model that they are of, and its tokenizer.

    Raises:
        CheckpointError: there is no valid checkpoint.
    """
    manifests = [run / "checkpoints" / f"step_{step:06d}" / checkpoint.MANIFEST for step in checkpoint.steps(run)]
    return _weights(run, tuple((path, path.stat().st_mtime_ns) for path in manifests if path.is_file()))


@functools.cache
def _weights(run: Path, manifests: tuple[tuple[Path, int], ...]) -> str:
    """The same, worked out once for the checkpoints that there are."""
    saved = checkpoint.newest(run)
    files = parse_json(readable(saved.folder / checkpoint.MANIFEST, Path.read_bytes))["files"]
    model = json.dumps(saved.state.get("model"), sort_keys=True)
    return sha256("\n".join([files["model.safetensors"]["sha256"], model, saved.tokenizer]).encode())


def changed(config: Config, before: Inputs) -> str | None:
    """Describe which inputs of a trial that is about to begin have changed since it was planned; None: none has."""
    try:
        now = inputs_of(config, sha256_of(config.data.path))
    except MingptError as gone:
        return str(gone)
    places = {
        "text": config.data.path,
        "tokenizer": config.data.tokenizer,
        "weights": config.pretrained_folder,
    }
    differing = [f"the {kind} in {places[kind]}" for kind in before if now.get(kind) != before[kind]]
    return f"{' and '.join(differing)} changed since the first trial was planned" if differing else None


def versions(known: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the versions of this project and of PyTorch that trials were trained with; warn of a new one.

    They are no part of an id, since most change nothing; where one did change a loss, this list shows it.
    """
    now = {"mingpt": VERSION, "torch": str(torch.__version__)}
    if known and now not in known:
        was, here = (", ".join(f"{name} {number}" for name, number in each.items()) for each in (known[-1], now))
        logger.warning(f"begun with {was}; trials from here on are trained with {here}, which may change their losses")
    return [*map(dict, known), *([now] if now not in known else [])]


def trial_id(stages: Sequence[Mapping[str, Any]], inputs: Sequence[Inputs], seed: int) -> str:
    """The id of a trial.

    Args:
        stages: settings of each stage, as far as its family uses them; of them those count that are not as in BASE.
        inputs: what each stage reads; the weights that a later stage begins with are those of the one before it.
        seed: system.seed.
    """
    settings = [_of_result(stage) for stage in stages]
    content = json.dumps({"stages": settings, "inputs": [dict(each) for each in inputs], "seed": seed}, sort_keys=True)
    return sha256(content.encode())[:LENGTH]


def _of_result(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the differences of a stage's settings from BASE, or from the default of a setting that BASE has not."""
    plain, usual = json.loads(json.dumps(dict(stage))), defaults()  # a tuple is a list
    return {
        key: value
        for key, value in plain.items()
        if not changes_no_result(key) and not _by_content(key, value) and BASE.get(key, usual.get(key)) != value
    }


def _by_content(key: str, value: Any) -> bool:
    return key == "data.path" or (key == "data.tokenizer" and str(value).endswith(FILE_NAME))
