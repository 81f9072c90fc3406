"""The commands of `chargpt`: a function each, from its arguments to an exit code; its docstring is its help.

A command's modules are loaded when it is called, so that `chargpt --help` costs no second of imports.
"""

import itertools
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mingpt.cli.comparison_commands import bench, compare, experiment, report, selftest, sweep
from mingpt.cli.options import (
    AttentionOptions,
    AuditOptions,
    CausalityOptions,
    EvalOptions,
    ExportOptions,
    ImportOptions,
    PrepareOptions,
    SampleOptions,
)
from mingpt.core.atomic_io import save_picture
from mingpt.core.errors import MingptError, UsageError
from mingpt.core.log_output import messages, to_stderr, to_stdout
from mingpt.core.paths import path_of, require_picture, shown
from mingpt.core.shell import program, quoted, visible
from mingpt.core.streams import lasting
from mingpt.core.torchrun_env import rank

if TYPE_CHECKING:
    from mingpt.runs.trained_run import Run

logger = logging.getLogger(__name__)

Options = TypeVar("Options")


@lasting()
def train(argv: Sequence[str]) -> int:
    """train a language model on a text, into a run folder"""
    began = time.perf_counter() - time.process_time()  # when this process started, by its CPU time
    from mingpt.runs import config as settings

    config = settings.parse(argv)  # before PyTorch is imported, which takes seconds

    from mingpt.cli import progress, results, terminal
    from mingpt.core.signals import EXIT_CODES
    from mingpt.runs import run, run_dir

    if config.trainer.resume:
        config = run_dir.resume_settings(argv, config)
    past = config.system.work_dir if config.trainer.resume else None
    out = terminal.stdout_console()
    with progress.Watch(out, Path(past) if past else None) as watch, messages(watch.message):
        done = run.train(config, callbacks=[watch], began=began)
    if done.stopped:
        watch.message(
            f"stopped by {done.stopped} after step {done.progress.step:,}; resume with\n"
            f"  {program()} --trainer.resume=True --system.work_dir={quoted(shown(done.folder))}"
        )
        return EXIT_CODES[done.stopped]
    if not rank():
        results.show_outcome(done, out, program(), began)
    return 0


@messages(to_stderr)
def sample(argv: Sequence[str]) -> int:
    """generate text with a trained model, or fill masked tokens in"""
    options = _options("sample", "Generate text.", SampleOptions, argv)
    samplings = [options.sampling(number) for number in range(options.num_samples)]
    printed = visible if sys.stdout.isatty() else str  # a file gets every character as it is
    trained = _load(options.run, options.device)
    if options.run is None:
        logger.info(f"run: {shown(trained.folder)}")
    if options.fill is not None:
        print(printed(trained.fill(options.fill, options.gap)))
        return 0
    if options.compile:
        logger.info("compiling the step of one token: half a minute, the first time")
    for number, sampling in enumerate(samplings):
        how = {name: getattr(options, name) for name in ("cache", "compile", "stop_at_eos")}
        pieces = trained.stream(options.prompt, options.max_new_tokens, sampling, **how)
        if number:
            print("\n" + "-" * 40)
        for piece in itertools.chain([options.prompt], pieces if options.stream else ["".join(pieces)]):
            print(printed(piece), end="", flush=True)
        print()
    return 0


@messages(to_stderr)
def evaluate(argv: Sequence[str]) -> int:
    """compute validation loss, bits per byte and perplexity of a trained model"""
    options = _options("eval", "Evaluate a model.", EvalOptions, argv)

    from mingpt.cli import results

    trained = _load(options.run, options.device)
    results.show_evaluation(trained, options)
    return 0


@messages(to_stderr)
def attention(argv: Sequence[str]) -> int:
    """plot the attention patterns of a trained model's heads"""
    options = _options("attention", "Draw attention patterns.", AttentionOptions, argv)

    trained = _load(options.run, options.device)
    out = path_of(options.out or trained.folder / "attention.png")
    require_picture(out)
    text = trained.excerpt() if options.text is None else options.text
    print(shown(save_picture(trained.plot_attention(text, options.layer), out)))
    return 0


@messages(to_stderr)
def causality(argv: Sequence[str]) -> int:
    """check that no prediction depends on future tokens, and plot the dependency map"""
    options = _options("causality", "Check that no prediction depends on future tokens.", CausalityOptions, argv)

    from mingpt.cli import results

    trained = _load(options.run, options.device)
    out, model = path_of(options.out or trained.folder / "causality.png"), trained.model
    text = trained.excerpt() if options.text is None else options.text
    found = results.draw_causality(trained, text, out)
    name, claim = type(model).__name__, "" if model.autoregressive else "not "
    print(f"{found.sentence}; {name} is declared {claim}autoregressive; {shown(out)}")
    if found.broken:
        raise MingptError(f"{name} {found.broken}: {found.sentence}")
    return 0


@messages(to_stderr)
def play(argv: Sequence[str]) -> int:
    """show trained models at work in a browser, on this machine"""
    from mingpt.cli.play import command

    return command.play(argv)


@messages(to_stderr)
def audit(argv: Sequence[str]) -> int:
    """check any language model: look-ahead, cache, batch, score ..."""
    from mingpt.core.command_line import split_words

    named, flags = split_words(argv, bare=("--json", "--thorough"))
    about = (
        "Check a language model before its scores are believed; 1 if a check fails.  TARGET: a run folder; a Hugging "
        "Face folder; package.module:factory, which returns a model; a file of per-token log-probabilities.  Code of "
        "others runs in two cases: the module that is named, and a Hugging Face folder's with --trust=True."
    )
    options = _options("audit TARGET", about, AuditOptions, flags)
    if len(named) != 1:
        raise UsageError(f"{len(named)} targets: one is needed, as `chargpt audit TARGET`")

    from mingpt.cli import auditing

    return auditing.audit(named[0], options)


@messages(to_stderr)
def prepare(argv: Sequence[str]) -> int:
    """tokenize a text of any size once, into a folder for training"""
    from mingpt.core.config_cli import Flags
    from mingpt.data import prepare as preparing
    from mingpt.data import prepared_folder
    from mingpt.data.data_config import DataConfig
    from mingpt.data.downloads import published_split

    groups, hidden = {"data": DataConfig, "": PrepareOptions}, ("data.block_size", "data.stateful")
    read = Flags("chargpt prepare", "Tokenize a text once.", groups, hidden).parse(argv, published_split)
    made = preparing.write(read["data"], path_of(read[""].out))
    sizes = [made["files"][name]["bytes"] for name in prepared_folder.IDS if name in made["files"]]
    tokens = sum(sizes) // made["bytes_per_id"]
    print(
        f"{read[''].out}: {tokens:,} tokens of {made['text_bytes']:,} bytes, {made['characters']:,} characters; "
        f"vocabulary {made['vocab_size']:,}\nnext:\n  {program()} {quoted('--data.path=' + read[''].out)}"
    )
    return 0


@messages(to_stderr)
def export(argv: Sequence[str]) -> int:
    """export a model to a Hugging Face folder, and compare the logits of both"""
    options = _options("export", "Write a folder that transformers loads, and compare.", ExportOptions, argv)

    from mingpt.interop import exporting, parity

    trained = _load(options.run, "cpu")
    written = exporting.export(trained, options.out, options.dtype)
    print(f"{shown(trained.folder)} as {written.class_name} in {written.folder}")
    try:
        print(parity.compare(trained, written.folder, exporting.DTYPES[options.dtype]))
    except ModuleNotFoundError as missing:
        logger.warning(f"not compared: {missing.name} is not installed; `pip install transformers` and export again")
    return 0


@messages(to_stdout)
def import_folder(argv: Sequence[str]) -> int:
    """import a Hugging Face folder as a run"""
    from mingpt.core.command_line import split_words

    folders, flags = split_words(argv)
    about = "Make a run of a folder: of GPT-2, GPT-Neo, Llama, Mistral, Qwen2, Qwen3 or Starcoder2."
    options = _options("import FOLDER", about, ImportOptions, flags)
    if len(folders) != 1:
        raise UsageError(f"{len(folders)} folders: one is needed, as `chargpt import FOLDER`")

    from mingpt.interop import importing

    made = importing.import_folder(folders[0], options.out, options.block_size)
    run, again = quoted(made), quoted(f"--config={made / 'config.yaml'}")
    print(f"\nnext:\n  {program()} sample --run={run}")
    (tokenizer,) = (made / "checkpoints").glob("*/tokenizer.json")  # that of its one checkpoint
    tokens = quoted(f"--data.tokenizer={tokenizer}")
    print(f"  {program()} {again} --model.pretrained_folder={run} {tokens} --data.path=TEXT")
    return 0


COMMANDS = {
    "train": train,
    "sample": sample,
    "eval": evaluate,
    "causality": causality,
    "attention": attention,
    "play": play,
    "audit": audit,
    "prepare": prepare,
    "compare": compare,
    "report": report,
    "sweep": sweep,
    "experiment": experiment,
    "bench": bench,
    "selftest": selftest,
    "export": export,
    "import": import_folder,
}


def _options(command: str, about: str, kind: type[Options], argv: Sequence[str]) -> Options:
    from mingpt.core.config_cli import options_of

    return options_of(f"chargpt {command}", about, kind, argv)


def _load(folder: str | None, device: str) -> "Run":
    """The run that is named, or the newest that has something to load."""
    from mingpt.runs import run

    return run.load_newest(device=device) if folder is None else run.load(folder, device=device)
