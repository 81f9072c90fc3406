"""How long a visitor of `chargpt play` waits, over HTTP as the browser does, from a server in a process of its own.

start         from the command to the page, less the time that `import torch` takes by itself
first token   from a click on Write to the first token, of a model in memory; also while another tab writes
slider        to the next-token distribution with other settings, as the bars are redrawn
attention     to the attention pattern of another head of a text

What hovers over a token needs no request: its alternatives came with it.
"""

import contextlib
import http.client
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import torch

from mingpt.benchmarks.base import machine_of, rounded, summary
from mingpt.benchmarks.options.play import Options
from mingpt.benchmarks.worker_process import last_words, with_ours
from mingpt.core.errors import UsageError
from mingpt.core.paths import path_of
from mingpt.training.profiling import Spread

logger = logging.getLogger(__name__)

LIMITS = {"start_s": 3.0, "first_token_ms": 150.0, "slider_ms": 100.0, "attention_ms": 100.0, "page_bytes": 300_000.0}
REFERENCES = re.compile(r"""["'](?:/static/|\./|static/)([\w./-]+\.(?:js|css|svg))["']""")
PROMPT = "ROMEO:\n"
DEFAULT_RUN = ("--trainer.max_iters=1", "--trainer.compile=never", "--data.val_fraction=0.01", "--wandb.mode=disabled")


class Visitor:
    """A connection to the page at `url`, which is kept open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        self._token = parse_qs(parts.query)["token"][0]

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> http.client.HTTPResponse:
        """Ask and return the answer, not yet read.

        Raises:
            UsageError: it is an error.
        """
        content = None if body is None else json.dumps(body).encode()
        self._connection.request("GET" if body is None else "POST", path, content, {"X-Token": self._token})
        found = self._connection.getresponse()
        if found.status != 200:
            raise UsageError(f"{path}: {found.read().decode()}")
        return found

    def write(self, name: str, tokens: int, seed: int = 0) -> Iterator[str]:
        """Yield the names of a text's events as they come."""
        settings = {"max_new_tokens": tokens, "seed": seed}
        for line in self.ask("/api/write", {"name": name, "prompt": PROMPT, "settings": settings}):
            if line.startswith(b"event: "):
                yield line.decode().split()[1]

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def server(run: Path) -> Iterator[tuple[str, float]]:
    """Start `chargpt play` on `run`; yield its address and the seconds until it had answered."""
    command = [sys.executable, "-m", "mingpt", "play", str(run), "--open=False", "--port=0", "--device=cpu"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=with_ours())
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        if not url.startswith("http"):
            raise UsageError(f"run={run}: the page does not start; see `chargpt play {run}`")
        with contextlib.closing(Visitor(url)) as visitor:
            visitor.ask("/").read()
        yield url, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def importing_torch() -> float:
    """Return the seconds until a new process has imported PyTorch."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", "import torch; print()"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        return time.perf_counter() - began


def page_bytes(visitor: Visitor) -> int:
    """Return the bytes of the page and of all files that it, and they, refer to."""
    found = {"": visitor.ask("/").read()}
    todo = REFERENCES.findall(found[""].decode())
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = visitor.ask(f"/static/{name}").read()
            todo += REFERENCES.findall(found[name].decode())
    return sum(map(len, found.values()))


def timed(rounds: int, act: Callable[[int], object]) -> list[float]:
    """Return the seconds of `rounds` calls of act(number)."""
    seconds = []
    for number in range(rounds):
        began = time.perf_counter()
        act(number)
        seconds.append(time.perf_counter() - began)
    return seconds


def first_tokens(visitor: Visitor, name: str, rounds: int) -> list[float]:
    """Return the seconds from a request for a text to its first token; the rest of it is read between two rounds."""
    seconds = []
    for number in range(rounds):
        began = time.perf_counter()
        events = visitor.write(name, 20, number)
        assert (next(events), next(events)) == ("prompt", "token")
        seconds.append(time.perf_counter() - began)
        assert list(events)[-1] == "done"
    return seconds


def visit(url: str, rounds: int) -> dict[str, Any]:
    """Return the seconds of everything that a visitor does, and the page's bytes."""
    with contextlib.closing(Visitor(url)) as visitor, contextlib.closing(Visitor(url)) as other:
        size = page_bytes(visitor)
        name = json.loads(visitor.ask("/api/state").read())["runs"][0]
        began = time.perf_counter()
        facts = json.loads(visitor.ask(f"/api/run?{urlencode({'name': name})}").read())
        loading = time.perf_counter() - began
        found = {"first token": first_tokens(visitor, name, rounds)}
        began = time.perf_counter()
        assert list(visitor.write(name, 200))[-1] == "done"
        speed = 200 / (time.perf_counter() - began)

        def slider(number: int) -> None:
            settings = {"temperature": 0.5 + number / rounds}
            visitor.ask("/api/next", {"name": name, "prompt": PROMPT, "settings": settings}).read()

        def attention(number: int) -> None:
            heads = facts["attention"]["heads"]
            at = {"layer": number // heads % facts["attention"]["layers"], "head": number % heads}
            text = (PROMPT * 8)[: facts["block_size"]]
            visitor.ask("/api/attention", {"name": name, "text": text, **at}).read()

        found["slider"] = timed(rounds, slider)
        if facts["attention"]:
            found["attention"] = timed(rounds, attention)
        busy = other.write(name, 5000)
        assert next(busy) == "prompt"
        found["first token, another tab writes"] = first_tokens(visitor, name, rounds)
    return {"seconds": found, "page_bytes": size, "loading_s": loading, "tokens_per_second": speed}


@contextlib.contextmanager
def chosen(run: str | None) -> Iterator[Path]:
    """Yield the run folder to show; None: one of the default settings, which is removed afterwards.

    Raises:
        UsageError: it can't be trained.
    """
    if run is not None:
        yield path_of(run).absolute()
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "out/default"
        command = [sys.executable, "-m", "mingpt", *DEFAULT_RUN, f"--system.work_dir={folder}"]
        trained = subprocess.run(command, cwd=place, env=with_ours(), capture_output=True, text=True)
        if trained.returncode:
            raise UsageError(f"run=null: no run could be trained: {last_words(trained.stderr)}")
        yield folder


def run(options: Options) -> dict[str, Any]:
    """Start the page and visit it.

    Returns:
        What the last line of `chargpt bench play` prints: seconds and milliseconds of each wait as median and
        quartiles, the page's bytes, and under "over" what is above its limit.
    """
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with chosen(options.run) as folder:
        imports, starts = [], []
        for _ in range(options.starts):
            imports.append(importing_torch())
            with server(folder) as (_, seconds):
                starts.append(seconds)
        with server(folder) as (url, _):
            seen = visit(url, options.rounds)
    own = [start - least for start, least in zip(starts, imports, strict=True)]
    rows = {name: summary(Spread(tuple(seconds)), 1e-3) for name, seconds in seen["seconds"].items()}
    measured = {
        "start_s": Spread(tuple(own)).median,
        "first_token_ms": max(row["median"] for name, row in rows.items() if name.startswith("first token")),
        **{f"{name}_ms": rows[name]["median"] for name in ("slider", "attention") if name in rows},
        "page_bytes": seen["page_bytes"],
    }
    over = [name for name, value in measured.items() if value > LIMITS[name]]
    for name, value in measured.items():
        logger.info(f"{name:16} {value:10,.4g}   at most {LIMITS[name]:,.0f}")
    return {
        "bench": "play",
        **asdict(options),
        **machine_of(torch.device("cpu")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "measured": {name: rounded(value) for name, value in measured.items()},
        "limits": LIMITS,
        "over": over,
        "import_torch_s": rounded(Spread(tuple(imports)).median),
        "loading_s": rounded(seen["loading_s"]),
        "tokens_per_second": rounded(seen["tokens_per_second"]),
        "rows": {name: {"ms": row} for name, row in rows.items()},
    }
