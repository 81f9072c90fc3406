"""The command as a process of its own: what it imports, how fast it answers, how it ends where something is gone."""

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
# What `pip install torch einops` brings that importing torch needs.
TORCH_ALONE = (
    "einops",
    "filelock",
    "fsspec",
    "functorch",
    "jinja2",
    "markupsafe",
    "mpmath",
    "networkx",
    "sympy",
    "torch",
)
TORCH_ALONE += ("torchgen", "typing_extensions.py")


def start(*words: str, options: tuple[str, ...] = (), **more: Any) -> subprocess.Popen[str]:
    """`python OPTIONS WORDS`, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "", **more.pop("env", {})}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen([sys.executable, *options, *words], text=True, env=environment, **streams)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out or "", err


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How to start Python where only torch and einops are installed."""
    there, only = Path(torch.__file__).parents[1], tmp_path_factory.mktemp("site")
    for name in TORCH_ALONE:
        (only / name).symlink_to(there / name)
    return {"options": ("-S",), "env": {"PYTHONPATH": str(only)}}


RUN_AND_TELL = """
import runpy, sys
sys.argv = ["chargpt.py", "--help"]
try:
    runpy.run_path("chargpt.py", run_name="__main__")
except SystemExit as end:
    print(end.code, sorted({"torch", "wandb", "numpy", "rich", "yaml"} & {*sys.modules}))
"""


def test_help_is_fast_and_needs_no_torch() -> None:
    began = time.perf_counter()
    code, out, err = finish(start("-c", RUN_AND_TELL, cwd=ROOT))
    assert time.perf_counter() - began < 3
    assert (code, err, out.splitlines()[-1]) == (0, "", "0 []")
    assert out.startswith("usage: python chargpt.py [COMMAND]")


def test_version_is_the_packages() -> None:
    from mingpt.core.version import VERSION

    assert finish(start("chargpt.py", "--version", cwd=ROOT)) == (0, f"{VERSION}\n", "")


def test_rules_hold_without_asserts(tmp_path: Path) -> None:
    words = ("--model.n_embd=30", "--model.n_query_head=4", "--data.path=missing")
    process = start(str(ROOT / "chargpt.py"), *words, options=("-O",), cwd=tmp_path)
    assert finish(process) == (2, "", "error: model.n_embd=30: must be a multiple of model.n_query_head=4\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_reader_that_stops_reading_a_sample_causes_no_traceback(trained: Path) -> None:
    words = ("sample", f"--run={trained}", "--prompt=ROMEO:", "--max_new_tokens=100000")
    process = start(str(ROOT / "chargpt.py"), *words)
    assert process.stdout
    assert process.stderr
    assert os.read(process.stdout.fileno(), 5) == b"ROMEO"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0
    process.stderr.close()


def test_reader_that_is_gone_before_the_last_line_causes_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    process = start("chargpt.py", "--help", cwd=ROOT, stdout=write)
    os.close(write)
    assert finish(process) == (0, "", "")


@pytest.mark.parametrize("verb", ["train", "sample", "eval"])
def test_missing_package_is_one_line(bare: dict[str, Any], tmp_path: Path, verb: str) -> None:
    code, out, err = finish(start(str(ROOT / "chargpt.py"), verb, cwd=tmp_path, **bare))
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.endswith(" is not installed: run `pip install -r requirements.txt`\n")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_test_package_is_one_line(bare: dict[str, Any]) -> None:
    code, out, err = finish(start("test_model.py", cwd=ROOT, **bare))
    assert (code, out) == (1, "")
    assert err.startswith("error: pytest, hypothesis, ")
    assert err.endswith(" not installed: run `pip install -r requirements-dev.txt`\n")
    assert len(err.splitlines()) == 1


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`given("-x")`: what test_model.py gives pytest for these words; its variables are put back."""

    def call(*words: str) -> list[str]:
        found: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(pytest, "main", lambda words, plugins: found.extend(words) or 0)
            patch.setattr(sys, "argv", ["test_model.py", *words])
            assert runpy.run_path(str(ROOT / "test_model.py"))["main"]() == 0
        return found

    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    return call


@pytest.mark.parametrize("threads", [None, "3"])
def test_tests_take_a_process_per_core_with_one_thread_each_unless_set(
    given: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, threads: str | None
) -> None:
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    words = given("-n", "0", "-k", "rope")
    assert words[-4:] == ["-n", "0", "-k", "rope"]  # of two, pytest takes the last
    assert words[words.index("-n") :][:3] == ["-n", "auto", "--dist=loadfile"]
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == (threads or "1", "passive")


def test_quick_suite_is_what_runs_unless_all_or_marks_are_given(given: Callable[..., list[str]]) -> None:
    assert "not slow and not full" in given()
    assert "not slow and not full" not in given("--all", "tests/models")
    assert "--all" not in given("--all")
    assert given("-m", "slow")[-2:] == ["-m", "slow"]  # of two, pytest takes the last


@pytest.mark.full
def test_option_that_is_none_ends_in_code_4_and_names_the_nearest() -> None:
    code, _, err = finish(start("test_model.py", "--al", cwd=ROOT))
    assert code == 4
    assert err.splitlines()[-1].startswith("error: --al: did you mean --all?")


def test_help_of_the_tests_needs_no_pytest_run() -> None:
    code, out, err = finish(start("test_model.py", "--help", cwd=ROOT))
    assert (code, err) == (0, "")
    assert "python test_model.py --all" in out
