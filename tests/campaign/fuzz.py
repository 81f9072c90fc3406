"""Random valid settings for three steps, and random files in every place that a file is read from."""

import contextlib
import io
import json
import math
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mingpt.cli import main
from mingpt.core.atomic_io import sha256
from mingpt.core.errors import MingptError, NotFiniteError, UsageError
from mingpt.core.variants import choices
from mingpt.models.config import CONFIGS, NGramConfig
from mingpt.runs import checkpoint, run
from mingpt.runs.checkpoint import MANIFEST
from mingpt.runs.config import Config
from tests.campaign.damage import FILES, saved
from tests.campaign.runs import words_of
from tests.campaign.tally import Tally, campaign
from tests.runs.conftest import config_from, without_frills, write_text

STEPS, HANGS = 3, 60  # seconds after which a trial is taken for stuck
Draw = random.Random


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError inside once that long has gone by."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# ---- settings

SIZES: dict[str, Callable[[Draw], Any]] = {  # of what is a number: a range that is tiny, with its edges
    "system.seed": lambda draw: draw.choice((0, 1, 2**32, 2**63 - 1, draw.randrange(2**63))),
    "data.block_size": lambda draw: draw.choice((1, 2, 3, 8, 17)),
    "data.val_fraction": lambda draw: draw.choice((1e-9, 0.1, 0.5, 0.999)),
    "model.n_layer": lambda draw: draw.randint(1, 3),
    "model.n_query_head": lambda draw: draw.choice((1, 2, 3, 4)),
    "model.n_kv_head": lambda draw: draw.choice((None, 1, 2, 3, 4)),
    "model.n_embd": lambda draw: draw.choice((1, 2, 4, 6, 8, 12, 24)),
    "model.window": lambda draw: draw.choice((None, 1, 2, 3, 8, 40)),
    "model.window_pattern": lambda draw: draw.choice((None, "w", "f", "wf", "wwwf", "fw")),
    "model.conv_width": lambda draw: draw.choice((1, 1, 2, 3, 9)),
    "model.embd_pdrop": lambda draw: draw.choice((0.0, 0.1, 0.5, 0.999)),
    "model.resid_pdrop": lambda draw: draw.choice((0.0, 0.1, 0.5, 0.999)),
    "model.attn_pdrop": lambda draw: draw.choice((0.0, 0.1, 0.5, 0.999)),
    "model.order": lambda draw: draw.choice((1, 2, 3, 6, 9)),
    "trainer.batch_size": lambda draw: draw.choice((1, 2, 4, 6)),
    "trainer.accumulation": lambda draw: draw.choice((1, 2, 3)),
    "trainer.learning_rate": lambda draw: 10 ** draw.uniform(-9, 3),
    "trainer.matrix_learning_rate": lambda draw: 10 ** draw.uniform(-9, 2),
    "trainer.betas": lambda draw: (draw.choice((0.0, 0.9, 0.999)), draw.choice((0.0, 0.5, 0.999999))),
    "trainer.weight_decay": lambda draw: draw.choice((0.0, 0.1, 10.0)),
    "trainer.grad_norm_clip": lambda draw: draw.choice((0.0, 1e-9, 1.0, 1e9)),
    "trainer.warmup_iters": lambda draw: draw.choice((0, 1, 2, 100)),
    "trainer.decay_from": lambda draw: draw.choice((0.0, 0.5, 1.0)),
    "trainer.final_rate": lambda draw: draw.choice((0.0, 0.1, 1.0)),
    "trainer.eval_every": lambda draw: draw.choice((0, 1, 2)),
    "trainer.eval_tokens": lambda draw: draw.choice((1, 7, 100)),
    "trainer.sample_every": lambda draw: draw.choice((0, 1, 2)),
    "trainer.save_every": lambda draw: draw.choice((0, 1, 2)),
}


def groups_of(family: str) -> dict[str, Any]:
    """A configuration's groups of settings."""
    return vars(Config(model=CONFIGS[family]()))


CHOICES = {
    f"{prefix}.{name}": names
    for family in CONFIGS
    for prefix, group in groups_of(family).items()
    for name, names in choices(type(group)).items()
}
ALWAYS = ("data.block_size", "model.n_embd", "model.n_layer")  # a default of these is no blink
FIXED = ("system.work_dir", "system.threads", "model.pretrained_folder", "trainer.max_iters", "trainer.resume")
FIXED += ("trainer.resume_changed", "trainer.compile", "trainer.device", "data.path", "data.tokenizer", "wandb.mode")


def settings_of(draw: Draw, text: Path, folder: Path) -> Config:
    """Settings that break no rule: of any family, any choice of every name, each number often at an edge."""
    while True:
        family = draw.choice(list(CONFIGS))
        defaults = Config(model=CONFIGS[family]()).flat()
        asked: dict[str, Any] = {"model.type": family}
        for key in [key for key in defaults if key not in FIXED and not key.startswith("wandb.")]:
            if key in asked or (key not in ALWAYS and draw.random() < 0.6):
                continue
            if key in CHOICES:
                asked[key] = draw.choice(list(CHOICES[key]))
            elif isinstance(defaults[key], bool):
                asked[key] = draw.random() < 0.5
            elif key in SIZES:
                asked[key] = SIZES[key](draw)
        config = accepted(asked, text, folder)
        if config is not None:
            return config


def accepted(asked: dict[str, Any], text: Path, folder: Path) -> Config | None:
    """The settings, without those that have no effect with others; None where they break a rule."""
    steps = {"trainer.max_iters": STEPS} if CONFIGS[asked["model.type"]] is not NGramConfig else {}
    asked = {**asked, **steps, "wandb.mode": "disabled", "trainer.device": "cpu"}
    for _ in range(len(asked)):
        try:
            return config_from({**asked, "data.path": str(text), "system.work_dir": str(folder)})
        except UsageError as rejected:
            idle = [
                key for key in asked if str(rejected).startswith(f"{key}=") and "has no effect with" in str(rejected)
            ]
            if not idle:
                return None
            del asked[idle[0]]
    return None


@campaign("random valid settings, three steps each", whole=500, quick=12, limits={"seconds": HANGS})
def fuzzed_settings(home: Path, trials: int) -> Tally:
    tally, text = Tally(), write_text(home / "text.txt")
    for number in range(trials):
        folder = home / "run"
        config = settings_of(random.Random(f"settings {number}"), text, folder)
        changed = config.not_default()
        began, fault = time.monotonic(), ""
        try:
            with without_frills(), at_most(HANGS):
                run.train(config)
            for step in checkpoint.steps(folder):
                found = checkpoint.read(folder / "checkpoints" / f"step_{step:06d}")
                if not all(tensor.isfinite().all() for tensor in (*found.model.values(), *found.optimizer.values())):
                    fault = f"step {step} is saved and not finite"
            tally.count("trained")
        except NotFiniteError:
            tally.count("stopped as not finite")
        except MingptError as refused:
            tally.count("refused by text or kernel")
            fault = "" if "\n" not in str(refused) else f"lines: {refused}"
        except BaseException as error:  # whatever else is a fault
            fault = f"{type(error).__name__}: {error}"
        tally.saw("seconds", time.monotonic() - began)
        tally.trial(f"settings {number} {changed}", not fault, fault)
        shutil.rmtree(folder, ignore_errors=True)
    return tally


# ---- files

VALUES = (None, True, 0, -1, 2**70, 1e308, math.inf, "", "x" * 99, "\0", "../../x", [], {}, [[]], {"step": None})


def mutated(content: bytes, draw: Draw) -> bytes:
    """Some bytes that are not `content`: noise, or it cut, doubled, flipped, or with another value in its JSON."""
    way, size = draw.randrange(7), len(content)
    if way == 0:
        return draw.randbytes(draw.choice((0, 1, 7, 8, 100, 5000)))
    if way == 1:
        return content[: draw.randrange(size + 1)]
    if way == 2:
        at, end = sorted(draw.randrange(size + 1) for _ in range(2))
        return content[:at] + content[end:]
    if way == 3:
        at = draw.randrange(size + 1)
        return content[:at] + draw.randbytes(draw.randint(1, 20)) + content[at:]
    if way == 4:
        return content + content
    if way == 5:
        changed = bytearray(content)
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(size)] = draw.randrange(256)
        return bytes(changed)
    return revalued(content, draw)


def revalued(content: bytes, draw: Draw) -> bytes:
    """JSON with one value, at any depth, replaced or dropped; a line of it, where there are several objects."""
    lines = content.splitlines() if content.count(b"\n{") else [content]
    number = draw.randrange(len(lines))
    try:
        value = json.loads(lines[number])
    except ValueError:
        return content + b"\n  - [*"
    here = value
    while isinstance(here, dict | list) and here:
        key = draw.choice(list(here)) if isinstance(here, dict) else draw.randrange(len(here))
        if isinstance(here[key], dict | list) and here[key] and draw.random() < 0.7:
            here = here[key]
            continue
        if draw.random() < 0.3:
            del here[key]
        else:
            here[key] = draw.choice(VALUES)
        break
    lines[number] = json.dumps(value).encode()
    return b"\n".join(lines) + b"\n"


def harmed(folder: Path, text: Path, draw: Draw) -> str:
    """Put a random file in some place of a run; returns which."""
    places = [*(f"checkpoints/step_000004/{name}" for name in FILES), "config.yaml", "environment.json"]
    places += ["metrics.jsonl", "samples.jsonl", "baselines.json", "text"]
    name = draw.choice(places)
    path = text if name == "text" else folder / name
    before = path.read_bytes()
    path.write_bytes(mutated(before, draw))
    if path.parent.name == "step_000004" and path.name != MANIFEST and draw.random() < 0.8:  # a manifest vouches for it
        manifest, content = path.with_name(MANIFEST), path.read_bytes()
        told = json.loads(manifest.read_bytes())
        told["files"][path.name] = {"bytes": len(content), "sha256": sha256(content)}
        manifest.write_text(json.dumps(told) + "\n")
    return name


def uses(folder: Path, text: Path, out: Path) -> dict[str, list[str]]:
    """What a person does with a run and its text."""
    return {
        "sample": ["sample", f"--run={folder}", "--max_new_tokens=3"],
        "eval": ["eval", f"--run={folder}"],
        "eval text": ["eval", f"--run={folder}", f"--text={text}"],
        "causality": ["causality", f"--run={folder}", "--text=abc", f"--out={out}.png"],
        "compare": ["compare", str(folder), str(folder)],
        "report": ["report", str(folder), f"--out={out}.html"],
        "resume": [f"--system.work_dir={folder}", "--trainer.resume=True"],
        "again": [f"--config={folder}/config.yaml", f"--system.work_dir={out}", "--wandb.mode=disabled"],
        "second stage": [
            f"--config={folder}/config.yaml",
            f"--model.pretrained_folder={folder}",
            f"--system.work_dir={out}-2",
            "--wandb.mode=disabled",
        ],
    }


@campaign("random files as checkpoint, settings, records, text", whole=500, quick=8, limits={"seconds": HANGS})
def fuzzed_files(home: Path, trials: int) -> Tally:
    """Each trial harms one file and does one thing; a documented exit code and one line, or it works."""
    tally, whole = Tally(), saved(home)
    words_of(home, whole, {})
    for number in range(trials):
        draw, place = random.Random(f"file {number}"), home / "trial"
        folder = Path(shutil.copytree(whole, place / "run"))
        text = Path(shutil.copy(home / "text.txt", place / "text.txt"))
        told = json.loads((folder / "environment.json").read_bytes())
        (folder / "environment.json").write_text(json.dumps({**told, "text": str(text)}))
        config = (folder / "config.yaml").read_text().replace(str(home / "text.txt"), str(text))
        (folder / "config.yaml").write_text(config)
        name = harmed(folder, text, draw)
        todo = uses(folder, text, place / "out")
        use = draw.choice(list(todo))
        began, fault = time.monotonic(), ended(todo[use])
        tally.saw("seconds", time.monotonic() - began)
        tally.trial(f"file {number}, {name}, {use}", not fault, fault)
        shutil.rmtree(place)
    return tally


def ended(words: list[str]) -> str:
    """What was wrong with how the command ended; empty where nothing."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), without_frills(), at_most(HANGS):
            code = main.main(words)
    except BaseException as error:  # whatever it is, the command should have said it in a line
        return f"{type(error).__name__}: {error}"
    errors = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
    if code not in (0, 2, 3, 4, 5):
        return f"exit {code}: {err.getvalue()}"
    return "" if len(errors) == (code != 0) else f"exit {code}, said {err.getvalue()!r}"
