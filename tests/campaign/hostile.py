"""Files that somebody made to do harm, vouched for by a manifest: nothing is executed or written, and a refusal is
quick and costs little memory."""

import json
import os
import pickle
import resource
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mingpt.core.atomic_io import sha256
from mingpt.core.errors import MingptError
from mingpt.core.run_files.records import read_run
from mingpt.runs import run
from mingpt.runs.checkpoint import MANIFEST
from tests.campaign.children import CONTEXT, PATIENCE
from tests.campaign.damage import FILES, saved
from tests.campaign.tally import Tally, campaign
from tests.runs.conftest import without_frills

SECONDS, BYTES = 1.0, 200e6  # that a refusal may take
HUGE = 100_000_000  # bytes of a header


def forge(folder: Path, name: str, content: bytes) -> None:
    """Replace a file of a checkpoint by one that its manifest vouches for."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": len(content), "sha256": sha256(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest) + "\n")


class Payload:
    """Pickled, it makes a folder wherever it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


def tensors(header: object, data: bytes = b"\0" * 16) -> bytes:
    """A safetensors file of that header."""
    described = json.dumps(header).encode()
    return struct.pack("<Q", len(described)) + described + data


def entry(begin: int, end: int, **other: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end], **other}


HOSTILE_TENSORS = {
    "header longer than any file": struct.pack("<Q", 2**63) + b"{}",
    "header of 2^64 - 1": struct.pack("<Q", 2**64 - 1) + b"{}",
    "header longer than this file": struct.pack("<Q", 10**8) + b"{}",
    "overlapping offsets": tensors({"a": entry(0, 12), "b": entry(8, 16)}),
    "offsets past the end": tensors({"a": entry(0, 64)}),
    "offsets backwards": tensors({"a": entry(8, 4)}),
    "shape that overflows": tensors({"a": entry(0, 16, shape=[2**62, 2**62])}),
    "negative shape": tensors({"a": entry(0, 16, shape=[-4])}),
    "unknown type": tensors({"a": entry(0, 16, dtype="PY_OBJECT")}),
    "header that is a list": tensors([]),
    "deep header": struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995,
    "no header": b"",
}


HOSTILE_JSON = {
    "deep": b"[" * 200_000,
    "null": b"null",
    "list": b"[]",
    "empty": b"{}",
    "a step alone": b'{"step": 4}',
    "a step of another type": b'{"step": {}}',
    "not UTF-8": b"\xff",
}


def long_header() -> bytes:
    """100 MB of names of tensors, each a valid one."""
    names = b",".join(b'"%07d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(HUGE // 60))
    header = b"{" + names + b"}"
    return struct.pack("<Q", len(header)) + header


def proof_beside(outside: Path) -> Path:
    """Where a payload would leave its folder, which is not there before."""
    return outside.parent.parent / "proof"


Harm = Callable[[Path, Path], None]  # (run folder, a path outside that must stay as it is)


def newest(folder: Path) -> Path:
    return folder / "checkpoints" / "step_000004"


def forging(name: str, content: Callable[[Path], bytes]) -> Harm:
    return lambda folder, outside: forge(newest(folder), name, content(outside))


def leading_out(path: str) -> Harm:
    def harm(folder: Path, outside: Path) -> None:
        manifest = json.loads((newest(folder) / MANIFEST).read_bytes())
        files = {**manifest["files"], path: {"bytes": outside.stat().st_size, "sha256": sha256(outside.read_bytes())}}
        (newest(folder) / MANIFEST).write_text(json.dumps({**manifest, "files": files}) + "\n")

    return harm


def link(name: str, *, keeping: bool = True) -> Harm:
    """A link in the place of `name` to the outside, where what stood there lies now, or something precious."""

    def harm(folder: Path, outside: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.copytree(path, outside.with_name("elsewhere"), dirs_exist_ok=True)
            shutil.rmtree(path)
            path.symlink_to(outside.with_name("elsewhere"))
            return
        if keeping and path.exists():
            outside.write_bytes(path.read_bytes())
        path.unlink(missing_ok=True)
        path.symlink_to(outside)

    return harm


def replacing(name: str, content: bytes) -> Harm:
    return lambda folder, outside: (folder / name).write_bytes(content) and None


def piped(name: str) -> Harm:
    def harm(folder: Path, outside: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return harm


def endless(name: str) -> Harm:
    def harm(folder: Path, outside: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")

    return harm


def naming_the_text(path: str) -> Harm:
    """environment.json says that the text is that file."""

    def harm(folder: Path, outside: Path) -> None:
        told = json.loads((folder / "environment.json").read_bytes())
        (folder / "environment.json").write_text(json.dumps({**told, "text": path}))

    return harm


NINE = ",".join(["*{0}"] * 9)
BOMB = "model:\n  n_layer: [&a [" + ",".join("x" * 9) + "]"
BOMB += "".join(f",&{here} [{NINE.format(there)}]" for there, here in zip("abcdefgh", "bcdefghi", strict=True)) + "]\n"
RECORDS = {
    "without a step": b'{"a": 1}\n{"step": 1}\n',
    "of another type": b'{"step": "x"}\n{"step": "y"}\n',
    "deep": b"[" * 100_000 + b"\n{}\n",
    "without a loss": b'{"step": 1}\n',
    "empty lines": b"\n\n",
}
HARMS: dict[str, Harm] = {
    **{
        f"{name}: {what}": forging(name, lambda outside, content=content: content)
        for name in ("model.safetensors", "optimizer.safetensors")
        for what, content in HOSTILE_TENSORS.items()
    },
    "model.safetensors: header of 100 MB": forging("model.safetensors", lambda outside: long_header()),
    **{
        f"{name}: a pickle": forging(name, lambda outside: pickle.dumps(Payload(proof_beside(outside))))
        for name in FILES[:-1]
    },
    **{
        f"{name}: {what}": forging(name, lambda outside, content=content: content)
        for name in ("state.json", "tokenizer.json")
        for what, content in HOSTILE_JSON.items()
    },
    "state.json: 200 MB": forging("state.json", lambda outside: b"[" + b"{}," * 66_000_000 + b"{}]"),
    **{f"manifest: {path}": leading_out(path) for path in ("../../../outside", "/etc/passwd", "a/../../../outside")},
    **{f"{name}: a link out": link(f"checkpoints/step_000004/{name}") for name in FILES},
    "step_000004: a link out": link("checkpoints/step_000004"),
    "config.yaml: aliases that stand for 10^9 words": replacing("config.yaml", BOMB.encode()),
    "config.yaml: runs a command": replacing("config.yaml", b"!!python/object/apply:os.system ['touch owned']"),
    "config.yaml: 100 MB": replacing("config.yaml", b"model: {n_layer: 1}\n" * 5_000_000),
    "config.yaml: a pipe": piped("config.yaml"),
    "environment.json: deep": replacing("environment.json", b"[" * 200_000),
    "environment.json: a list": replacing("environment.json", b"[]"),
    "environment.json: names no text": replacing("environment.json", b"{}"),
    "environment.json: a pipe": piped("environment.json"),
    "text: /dev/zero": naming_the_text("/dev/zero"),
    **{f"{name}: a pipe": piped(name) for name in ("metrics.jsonl", "samples.jsonl")},
    **{f"{name}: endless": endless(name) for name in ("metrics.jsonl", "samples.jsonl")},
    **{f"metrics.jsonl: {what}": replacing("metrics.jsonl", content) for what, content in RECORDS.items()},
    **{f"samples.jsonl: {what}": replacing("samples.jsonl", content) for what, content in RECORDS.items()},
    "baselines.json: not JSON": replacing("baselines.json", b"nats"),
    **{
        f"{name}: a link out": link(name, keeping=False)
        for name in ("metrics.jsonl", "samples.jsonl", "baselines.json", "loss.png", "wandb", ".lock")
    },
}


def used(folder: Path, out: Path) -> None:
    """Load, judge, compare and go on with a run, as far as each goes; write down what that cost, and what it said."""
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends, seconds = [], 0.0
    for use in (load, evaluate, compare, go_on):
        began = time.process_time()  # on a busy machine a clock on the wall would measure the others
        try:
            with without_frills():
                use(folder)
            ends.append("done")
        except MingptError as error:
            ends.append(f"refused: {error}")
        except BaseException as error:  # whatever else is a fault
            ends.append(f"FAULT: {use.__name__}: {type(error).__name__}: {error}")
        seconds = max(seconds, time.process_time() - began)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024
    out.write_text(json.dumps({"ends": ends, "seconds": seconds, "bytes": grown}))


def load(folder: Path) -> None:
    run.load(folder, device="cpu").generate("", 3)


def evaluate(folder: Path) -> None:
    run.load(folder, device="cpu").evaluate()


def compare(folder: Path) -> None:
    """What `compare` and `report` read of it."""
    read_run(folder)


def go_on(folder: Path) -> None:
    from mingpt.core.system_config import SystemConfig
    from mingpt.runs.config import Config
    from mingpt.runs.run_dir import resume_settings
    from mingpt.training.trainer_config import TrainerConfig

    asked = Config(system=SystemConfig(work_dir=str(folder)), trainer=TrainerConfig(resume=True))
    run.train(resume_settings(["--trainer.resume=True"], asked))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below it; no link is followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


@campaign(
    "hostile files in a run folder: loaded, judged, compared, gone on with",
    whole=len(HARMS),
    quick=10,
    limits={"seconds of CPU": SECONDS, "MB": BYTES / 1e6},
)
def hostile(home: Path, trials: int) -> Tally:
    tally, whole = Tally(), saved(home)
    pickle.loads(pickle.dumps(Payload(home / "proof")))
    assert (home / "proof").exists(), "the payload proves nothing"
    for name, harm in list(HARMS.items())[:: -(-len(HARMS) // trials)]:
        place = home / "trial"
        folder, outside = Path(shutil.copytree(whole, place / "run")), place / "around" / "outside"
        outside.parent.mkdir()
        outside.write_bytes(b"precious")
        harm(folder, outside)
        before = contents(outside.parent)
        child = CONTEXT.Process(target=used, args=(folder, place / "told.json"))
        child.start()
        child.join(PATIENCE)
        child.kill()
        told = json.loads((place / "told.json").read_text()) if (place / "told.json").exists() else {}
        faults = [end for end in told.get("ends", ["FAULT: no end"]) if "FAULT" in end or "\n" in end]
        faults += ["changed what lies outside"] if contents(outside.parent) != before else []
        faults += ["executed"] if Path("owned").exists() or proof_beside(outside).exists() else []
        if told:
            faults += [f"{told['seconds']:.1f} s"] if told["seconds"] > SECONDS else []
            faults += [f"{told['bytes'] / 1e6:.0f} MB"] if told["bytes"] > BYTES else []
            tally.saw("seconds of CPU", told["seconds"])
            tally.saw("MB", told["bytes"] / 1e6)
        tally.trial(name, not faults, "; ".join(faults))
        shutil.rmtree(place)
    return tally
