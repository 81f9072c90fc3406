"""The command line as a person meets it: words in; an exit code, what was printed, and what was complained of out."""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch.nn.functional as F
from bidirectional import FULL, LEARNED, MASKED
from matplotlib.figure import Figure

from mingpt.cli import main
from mingpt.core.errors import DataError
from mingpt.models.attention.kernels import Sdpa

TEXT = "ROMEO:\nAy me, [sad] hours seem long!\n\nJULIET:\nWhat's in a name? That which we call a rose\n" * 6
TINY = (
    "--model.n_layer=1",
    "--model.n_embd=16",
    "--data.block_size=8",
    "--trainer.max_iters=3",
    "--sample.tokens=5",
    "--wandb.mode=disabled",
)


@dataclass(frozen=True)
class Outcome:
    """How one call ended."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line that it ended in, after `error: `; nothing else may have been printed."""
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.endswith("\n")
        assert len(self.err.splitlines()) == 1
        return self.err.removeprefix("error: ").rstrip("\n")


Chargpt = Callable[..., Outcome]


@pytest.fixture(scope="session")
def chargpt() -> Chargpt:
    """`chargpt("sample", "--seed=1")`, in this process."""

    def call(*words: str) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.main(words)
        return Outcome(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def accepts(chargpt: Chargpt) -> Chargpt:
    """As `chargpt`, but whatever would read a text or a run ends with exit code 3 and the word `accepted`."""

    def call(*words: str) -> Outcome:
        with contextlib.ExitStack() as stack:
            for name in (
                "data.dataset.read_text",
                "runs.run.load",
                "runs.run.load_newest",
                "runs.checkpoint.newest",
                "runs.run_dir.newest_run",
                "runs.run_dir.resume_settings",
            ):
                stack.enter_context(mock.patch(f"mingpt.{name}", side_effect=DataError("accepted")))
            return chargpt(*words)

    return call


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def untouched(cwd: Path) -> Iterator[Path]:
    """An empty folder that is empty afterwards, too."""
    yield cwd
    assert list(cwd.iterdir()) == []


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "plays.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Settings of a run that takes a moment: one layer, block 8, three steps."""
    return TINY


@pytest.fixture(autouse=True, scope="session")
def no_slow_frills() -> Iterator[None]:
    """Leaves out what costs most of a tiny run and decides nothing."""
    with mock.patch("mingpt.runs.summary.peak_matmul_flops", return_value=1e9):
        yield


@pytest.fixture(scope="session")
def trained(chargpt: Chargpt, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run; its name has a space and brackets, as a person's may."""
    folder = tmp_path_factory.mktemp("runs") / "my [first] run"
    ended = chargpt(*TINY, f"--data.path={text_file}", f"--system.work_dir={folder}")
    assert (ended.code, ended.err) == (0, "")
    return folder


@pytest.fixture(scope="session")
def runs(
    chargpt: Any, tiny: tuple[str, ...], trained: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A run of a GPT, of one that reads the whole block, and of a network that fills gaps."""
    home = tmp_path_factory.mktemp("leaking")
    for name, words in {"full": (*tiny, *FULL), "masked": (*LEARNED, *MASKED, "--model.n_layer=1")}.items():
        ended = chargpt(*words, f"--data.path={text_file}", f"--system.work_dir={home / name}")
        assert (ended.code, ended.err) == (0, "")
    return {"causal": trained, "full": home / "full", "masked": home / "masked"}


@pytest.fixture
def leaky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that sees the future, in a model that says otherwise."""

    def attend(kernel: Sdpa, q: Any, k: Any, v: Any, need: Any) -> tuple[Any, None]:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True), None

    monkeypatch.setattr(Sdpa, "attend", attend)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Filled with what is drawn from now on, instead of files."""
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **how: drawn.append(self))
    return drawn
