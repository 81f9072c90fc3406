"""What is wrong with a command is said before PyTorch is imported, which takes seconds; and its compiler never is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mingpt.benchmarks import BENCHMARKS

ROOT = Path(__file__).parents[2]
REJECTED = {  # every verb, and words that it rejects
    "train": [
        ["--model.n_lyer=3"],
        ["--trainer.max_iters=many"],
        ["--trainer.max_iters=0"],
        ["--model.score=sacled_dot"],
        ["--model.kernel=flxe"],
        ["--trainer.optimizer=sgd"],
        ["--dist.strategy=dpd"],
        ["--data.tokenizer=cahr"],
        ["--model.mask=full", "--model.window=3"],
        ["--model.score=linear_concat", "--model.head_dim=1"],
        ["--model.rope=True", "--model.head_dim=3"],
        ["--model.rope_base=3"],
        ["--model.type=rnn", "--model.readout=literal", "--model.cell=gru"],
        ["--model.type=birnn", "--model.objective=masked", "--model.reading=prefix"],
        ["--model.type=ngram", "--trainer.max_iters=3"],
        ["--data.stateful=True"],
        ["--trainer.schedule=constant", "--trainer.final_rate=0.1"],
    ],
    "sample": [
        *(["--temprature=1"], ["--temperature=-1"], ["--top_p=0"], ["--seed=-1"], ["--max_new_tokens=-1"]),
        *(["--past_block=haf"], ["--past_block=half", "--cache=False"], ["--compile=True", "--cache=False"]),
        *(["--device=gpu"], ["--fill=a_b", "--seed=3"]),
    ],
    "eval": [["--txt=a"], ["--device=gpu"], ["--run="]],
    "causality": [["--txt=a"], ["--device=gpu"], ["--out=a.doc"], ["--out=nowhere/a.png"]],
    "attention": [["--layers=1"], ["--layer=first"], ["--out=a.doc"], ["--out=nowhere/a.png"]],
    "play": [["--prt=1"], ["--port=70000"], ["--root=nowhere"], ["a", "b", "c"], ["--host=256.1.1.1"]],
    "prepare": [["--data.pth=a"], ["--data.tokenizer=cahr", "--out=x"], ["--data.val_fraction=2", "--out=x"], []],
    "selftest": [["--kernels=flex"], ["--kernel=flxe"], ["--every=0"]],
    "export": [["--output=a"], [], ["--out=x", "--dtype=float8"]],
    "import": [["a", "--block_sizes=1"], [], ["a", "--block_size=0"]],
    "compare": [["--jsn"], []],
    "report": [["--outs=a"], ["--out="]],
    "sweep": [
        *(["--seeds=0"], ["--jobs=0", "--model.rope=True,False"], ["--model.n_lyer=1,2"], ["--model.n_layer=0,1"], []),
        ["--model.norm=rmsnrm,layernorm"],
    ],
    "experiment": [
        *(["rnu"], ["list", "rope"], ["run", "rope", "--quik"], ["run", "rope", "--seeds=0"]),
        *(["show", "rope", "--jobs=2"], ["run", "rope", "--jobs=0"], ["run", "rope", "--data="]),
        *(["publish", "--fast=True"], ["publish", "roep"], ["rope"], ["run", "roep"], ["show", "roep"]),
        *(["run"], ["show"]),
    ],
    "bench": [
        *(
            ["--shap=A"],
            ["--shape=D"],
            ["--through=dpd"],
            ["rnns"],
            ["rnn", "--width=0"],
            ["growth", "--optimizer=sgd"],
        ),
        *(["attention", "--window=0"], ["decode", "--tokens=1"], ["grouped", "--width=3"], ["speedrun", "--seeds=0"]),
        *(["processes", "--steps=1"], ["all", "--threads=0"], ["all", "--peers=nobody"], ["load", "--seconds=0"]),
    ],
}
RUN = """
import contextlib, io, json, sys

class Rejecting:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise AssertionError("torch was imported")

sys.meta_path.insert(0, Rejecting())
from mingpt.cli.main import main

ended = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    ended.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""


def ended(commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each, in a process that can't import PyTorch."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(commands), capture_output=True, text=True, cwd=ROOT, check=True
    )
    return [tuple(each) for each in json.loads(ran.stdout)]


@pytest.mark.full
def test_wrong_settings_are_rejected_before_torch_is_imported() -> None:
    commands = [[verb, *words] for verb, wrong in REJECTED.items() for words in wrong]
    for command, (code, _, said) in zip(commands, ended(commands), strict=True):
        assert (code, said.startswith("error: "), "torch" in said) == (2, True, False), (command, said)


def test_help_needs_no_torch() -> None:
    commands = [
        *([verb, "--help"] for verb in REJECTED),
        ["experiment", "run", "rope", "--help"],
        *(["bench", name, "--help"] for name in BENCHMARKS),
        ["--help"],
    ]
    for command, (code, said, _) in zip(commands, ended(commands), strict=True):
        assert (code, said.startswith("usage: chargpt")) == (0, True), command


def test_experiments_are_listed_without_torch() -> None:
    commands = [["experiment"], ["experiment", "list"]]
    for command, (code, said, _) in zip(commands, ended(commands), strict=True):
        assert (code, said.startswith("attention  What")) == (0, True), command


def test_checking_a_command_line_loads_no_numpy() -> None:
    code = (
        "import sys; from mingpt.cli.main import main; main(['train', '--help'])\n"
        "assert not {'numpy', 'filelock', 'torch'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("family", [[], ["--model.type=rnn"]], ids=["gpt", "rnn"])
@pytest.mark.full
def test_training_on_a_cpu_does_not_import_the_compiler(tmp_path: Path, family: list[str]) -> None:
    (tmp_path / "t.txt").write_text("to be, or not to be: that is the question.\n" * 9, encoding="utf-8")
    small = ["--model.n_layer=1", "--model.n_embd=8", "--data.block_size=8", "--trainer.max_iters=2"]
    other = ["--trainer.batch_size=2", "--wandb.mode=disabled", "--system.threads=1", f"--data.path={tmp_path}/t.txt"]
    words = [*family, *small, *other, "--trainer.device=cpu", f"--system.work_dir={tmp_path}/run"]
    code = (
        "import sys; from mingpt.cli.main import main; code = main(sys.argv[1:])\n"
        "assert 'torch' in sys.modules and not {'torch._dynamo', 'torch._inductor'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^time: [\d.]+ s = .*start-up [\d.]+ \+ .*other [\d.]+$", ran.stdout, re.MULTILINE)


@pytest.mark.parametrize("folder", ["core", "report"])
@pytest.mark.thin(1)
def test_folder_needs_no_torch(folder: str) -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "mingpt" / folder).rglob("*.py")
    ]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (len(names) > 10, done.stdout) == (True, "False\n")
