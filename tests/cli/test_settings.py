"""Settings from words and files: what is meant is what is set, and what is wrong is refused in one sentence."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import UsageError
from mingpt.runs.config import parse
from mingpt.training.trainer_config import TrainerConfig

WHOLE, FINITE, NO_KEY = "must be a whole number", "must be a finite number", "there is no such setting"

# The words; the setting and value that the refusal starts with; the rule that it gives.
WRONG = [
    ("--model.n_embd=30 --model.n_query_head=4", "model.n_embd=30", "must be a multiple of model.n_query_head=4"),
    ("--model.n_embd=0", "model.n_embd=0", "must be at least 1"),
    ("--model.n_embd=-128", "model.n_embd=-128", "must be at least 1"),
    ("--model.n_embd=12 --model.n_query_head=4 --model.rope=True", "model.n_embd=12", "heads of even width"),
    ("--model.n_embd=12 --model.n_query_head=4 --model.position=rope", "model.n_embd=12", "heads of even width"),
    ("--model.n_layer=0", "model.n_layer=0", "must be at least 1"),
    ("--model.n_query_head=0", "model.n_query_head=0", "must be at least 1"),
    ("--model.n_embd=128 --model.n_query_head=3", "model.n_embd=128", "must be a multiple of model.n_query_head=3"),
    ("--model.n_query_head=4 --model.n_kv_head=3", "model.n_kv_head=3", "must divide model.n_query_head=4"),
    ("--model.n_query_head=4 --model.n_kv_head=8", "model.n_kv_head=8", "must divide model.n_query_head=4"),
    ("--model.n_query_head=4 --model.n_kv_head=0", "model.n_kv_head=0", "must divide model.n_query_head=4"),
    ("--model.n_query_head=4 --model.n_kv_head=-2", "model.n_kv_head=-2", "must divide model.n_query_head=4"),
    ("--model.attn_pdrop=1", "model.attn_pdrop=1.0", "must be in [0, 1)"),
    ("--model.resid_pdrop=-0.1", "model.resid_pdrop=-0.1", "must be in [0, 1)"),
    ("--model.embd_pdrop=NaN", "model.embd_pdrop=NaN", FINITE),
    ("--model.embd_pdrop=.nan", "model.embd_pdrop=nan", "must be in [0, 1)"),
    ("--model.position=learned --model.rope=True", "model.position=learned", "contradicts model.rope=True"),
    ("--model.pretrained_folder=", "model.pretrained_folder=''", "must name a run folder"),
    ("--data.block_size=0", "data.block_size=0", "must be at least 1"),
    ("--data.block_size=-3", "data.block_size=-3", "must be at least 1"),
    ("--data.block_size -3", "data.block_size=-3", "must be at least 1"),
    ("--data.block_size=1.5", "data.block_size=1.5", WHOLE),
    ("--data.block_size=true", "data.block_size=true", WHOLE),
    ("--data.block_size=", "data.block_size=", WHOLE),
    ("--data.val_fraction=0", "data.val_fraction=0.0", "must be between 0 and 1"),
    ("--data.val_fraction=1", "data.val_fraction=1.0", "must be between 0 and 1"),
    ("--data.path=", "data.path=''", "must name a text file"),
    ("--data.vocab_size=300", "data.vocab_size=300", "has no effect with data.tokenizer=char"),
    ("--data.tokenizer=byte --data.vocab_size=300", "data.vocab_size=300", "has no effect with data.tokenizer=byte"),
    (
        "--data.tokenizer=a.json --data.vocab_size=300",
        "data.vocab_size=300",
        "has no effect with data.tokenizer=a.",
    ),
    ("--data.tokenizer=bpe --data.vocab_size=99", "data.vocab_size=99", "must be in [256, 1000000]"),
    ("--data.tokenizer=bpe --data.vocab_size=1e9", "data.vocab_size=1e9", WHOLE),
    ("prepare --data.path=a.txt", "out=null", "must name the folder to make"),
    ("prepare --out=", "out=''", "must name a file or folder"),
    ("--trainer.learning_rate=0", "trainer.learning_rate=0.0", "must be finite and above 0"),
    ("--trainer.learning_rate=-1e-3", "trainer.learning_rate=-0.001", "must be finite and above 0"),
    ("--trainer.learning_rate=inf", "trainer.learning_rate=inf", FINITE),
    ("--trainer.learning_rate=nan", "trainer.learning_rate=nan", FINITE),
    ("--trainer.learning_rate=1e999", "trainer.learning_rate=inf", "must be finite and above 0"),
    ("--trainer.learning_rate=fast", "trainer.learning_rate=fast", FINITE),
    ("--trainer.matrix_momentum=1", "trainer.matrix_momentum=1.0", "must be in [0, 1)"),
    ("--trainer.matrix_learning_rate=.inf", "trainer.matrix_learning_rate=inf", "must be finite and above 0"),
    ("--trainer.max_iters=0", "trainer.max_iters=0", "must be at least 1"),
    ("--trainer.max_iters=three", "trainer.max_iters=three", WHOLE),
    ("--trainer.max_iters=None", "trainer.max_iters=None", WHOLE),
    ("--trainer.max_iters=null", "trainer.max_iters=null", WHOLE),
    ("--trainer.batch_size=0", "trainer.batch_size=0", "must be at least 1"),
    ("--trainer.betas=0.9", "trainer.betas=0.9", "must be 2 numbers"),
    ("--trainer.betas=0.9,0.95,0.99", "trainer.betas=0.9,0.95,0.99", "must be 2 numbers"),
    ("--trainer.betas=a,b", "trainer.betas=a,b", "must be 2 numbers"),
    ("--trainer.betas=0.9,1", "trainer.betas=(0.9, 1.0)", "must be two numbers in [0, 1)"),
    ("--trainer.betas=-0.1,0.9", "trainer.betas=(-0.1, 0.9)", "must be two numbers in [0, 1)"),
    ("--trainer.weight_decay=-1", "trainer.weight_decay=-1.0", "must be finite, 0 or more"),
    ("--trainer.grad_norm_clip=-1", "trainer.grad_norm_clip=-1.0", "must be finite, 0 or more"),
    ("--trainer.warmup_iters=-1", "trainer.warmup_iters=-1", "must be 0 or more"),
    ("--trainer.decay_from=2", "trainer.decay_from=2.0", "must be in [0, 1]"),
    ("--trainer.device=gpu", "trainer.device=gpu", "must be one of auto, cpu, cuda, mps"),
    ("--trainer.compile=maybe", "trainer.compile=maybe", "must be one of auto, always, never"),
    ("--trainer.resume=perhaps", "trainer.resume=perhaps", "must be True or False"),
    ("--model.bias=1", "model.bias=1", "must be True or False"),
    ("--model.bias=None", "model.bias=None", "must be True or False"),
    ("--wandb.mode=on", "wandb.mode=on", "must be one of offline, online, disabled"),
    ("--system.seed=-1", "system.seed=-1", "must be in [0, 2^63)"),
    ("--system.seed=9223372036854775808", "system.seed=9223372036854775808", "must be in [0, 2^63)"),
    ("--system.threads=-1", "system.threads=-1", "must be in [0, 1024]"),
    ("--system.work_dir=", "system.work_dir=''", "must name a folder"),
    # A name that there is not: the nearest that there is.
    ("--model.norm=rms", "model.norm=rms", "(did you mean 'rmsnorm'?)"),
    ("--model.mlp=swigul", "model.mlp=swigul", "(did you mean 'swiglu'?)"),
    ("--model.init=gpt", "model.init=gpt", "(did you mean 'gpt2'?)"),
    ("--model.position=learnt", "model.position=learnt", "(did you mean 'learned'?)"),
    ("--model.type=gtp", "model.type=gtp", "(did you mean 'gpt'?)"),
    ("--trainer.optimizer=adam", "trainer.optimizer=adam", "(did you mean 'adamw'?)"),
    ("--trainer.schedule=cos", "trainer.schedule=cos", "(did you mean 'cosine'?)"),
    ("--data.tokenizer=chars", "data.tokenizer=chars", "(did you mean 'char'?)"),
    # A setting that there is not.
    ("--trainer.max=3", "--trainer.max", f"{NO_KEY} (did you mean 'trainer.max_iters'?)"),
    ("--trainer.max_itres=3", "--trainer.max_itres", f"{NO_KEY} (did you mean 'trainer.max_iters'?)"),
    ("--model.max_iters=3", "--model.max_iters", f"{NO_KEY} (did you mean 'trainer.max_iters'?)"),
    ("--learning_rate=3", "--learning_rate", f"{NO_KEY} (did you mean 'trainer.learning_rate'?)"),
    ("--model.block_size=8", "--model.block_size", f"{NO_KEY} (did you mean 'data.block_size'?)"),
    ("--model.n_head=2", "--model.n_head", f"{NO_KEY} (did you mean 'model.n_query_head'?)"),
    ("--trainer.lr=3", "--trainer.lr", f"{NO_KEY} (did you mean 'trainer.learning_rate'?)"),
    ("--model=gpt", "--model", NO_KEY),
    ("--zebra=3", "--zebra", NO_KEY),
    # Words that are no settings.
    ("--trainer.max_iters", "--trainer.max_iters", "needs a value"),
    ("--trainer.max_iters --model.rope=True", "--trainer.max_iters", "needs a value"),
    ("--model.rope=True 3", "'3'", "settings are given as --"),
    ("train .", "'.'", "settings are given as --data.path=."),
    ("--epochs=3", "--epochs", f"{NO_KEY} (did you mean 'trainer.max_iters'?)"),
    ("--context_length=8", "--context_length", f"{NO_KEY} (did you mean 'data.block_size'?)"),
    ("--d_model=8", "--d_model", f"{NO_KEY} (did you mean 'model.n_embd'?)"),
    ("sample ROMEO", "'ROMEO'", "settings are given as --prompt=ROMEO"),
    ("sample .", "'.'", "settings are given as --run=."),
    ("eval other.txt", "'other.txt'", "settings are given as --text=other.txt"),
    ("train input.txt", "'input.txt'", "settings are given as --"),
    ("my.txt", "'my.txt'", "is no command; a text is given as --data.path=my.txt"),
    ("-x", "'-x'", "settings are given as --"),
    ("trian", "'trian'", "(did you mean 'train'?)"),
    ("evaluate", "'evaluate'", "must be one of train, sample, eval"),
    ("--config", "--config", "needs a value"),
    ("--config=no.yaml", "--config=no.yaml", "can't be read: No such file"),
    ("--config=.", "--config=.", "can't be read: Is a directory"),
    # Those of the other verbs.
    ("sample --temperature=-1", "temperature=-1.0", "must be a number, 0 or more"),
    ("sample --temperature=NaN", "temperature=NaN", FINITE),
    ("sample --temperature=.inf", "temperature=inf", "must be a number, 0 or more"),
    ("sample --top_k=-1", "top_k=-1", "must be 0 (all) or more"),
    ("sample --top_k=1.5", "top_k=1.5", WHOLE),
    ("sample --top_p=0", "top_p=0.0", "must be above 0 and at most 1"),
    ("sample --top_p=1.5", "top_p=1.5", "must be above 0 and at most 1"),
    ("sample --num_samples=0", "num_samples=0", "must be at least 1"),
    ("sample --seed=-1", "seed=-1", "must be in [0, 2^63)"),
    ("sample --temprature=1", "--temprature", f"{NO_KEY} (did you mean 'temperature'?)"),
    ("sample --trainer.max_iters=3", "--trainer.max_iters", NO_KEY),
    ("bench --rounds=1", "rounds=1", "must be at least 2"),
    ("bench --threads=-1", "threads=-1", "must be 0 or more"),
    ("bench --dropout=1", "dropout=1.0", "must be in [0, 1)"),
    ("bench --peers=tvm=.", "peers=tvm=.", "must be of mingpt, mingpt-trainer, nanogpt"),
    ("bench --peers=mingpt=nowhere", "peers=mingpt=nowhere", "must be KIND=FOLDER of a clone"),
    ("bench --shape=Z", "shape=Z", "must be one of A, B, C"),
    ("eval --txt=a", "--txt", f"{NO_KEY} (did you mean 'text'?)"),
]


@pytest.mark.parametrize(("words", "named", "rule"), WRONG, ids=[words for words, *_ in WRONG])
@pytest.mark.usefixtures("untouched")
@pytest.mark.thin(30)
def test_wrong_setting_is_rejected_with_setting_value_and_rule(accepts: Any, words: str, named: str, rule: str) -> None:
    ended = accepts(*words.split(" "))
    assert ended.code == 2
    assert ended.refusal.startswith(f"{named}: ")
    assert rule in ended.refusal.removeprefix(named)


@pytest.mark.usefixtures("untouched")
def test_what_was_typed_is_named_and_not_a_default(accepts: Any, tmp_path: Path) -> None:
    """Of two settings that break a rule, the one on the command line, and its name after no other."""
    multiple = "model.n_query_head=3: model.n_embd=128 must be a multiple of model.n_query_head=3"
    assert accepts("--model.n_query_head=3").refusal == multiple
    (tmp_path / "c").write_text("model:\n  n_embd: 128\n")
    assert accepts(f"--config={tmp_path / 'c'}", "--model.n_query_head", "3").refusal == multiple
    (tmp_path / "c").write_text("model:\n  n_query_head: 3\n")
    assert accepts(f"--config={tmp_path / 'c'}").refusal.startswith("model.n_embd=128: must be")
    (tmp_path / "c").write_text("model:\n  rope: true\n")
    assert accepts(f"--config={tmp_path / 'c'}", "--model.type=rnn").refusal == (
        f"--config={tmp_path / 'c'}: model.rope: no setting of model.type=rnn; it belongs to gpt"
    )
    assert accepts("--trainer.accumulation=3").refusal == (
        "trainer.accumulation=3: trainer.batch_size=8 must be a multiple of trainer.accumulation=3"
    )
    (tmp_path / "c").write_text("data:\n  vocab_size: 300\n")
    by = "data.tokenizer=my tokens, at {}: the.json"  # whatever stands in a value, none of it is read as a sentence
    assert (
        accepts(f"--config={tmp_path / 'c'}", f"--{by}").refusal == f"{by}: data.vocab_size=300 has no effect with {by}"
    )
    (tmp_path / "c").write_text("model:\n  n_layer: 1\n  resid_pdrop: 0.5\n")
    assert accepts(f"--config={tmp_path / 'c'}", "--model.type=rnn", "--model.n_layer=1").refusal == (
        "model.n_layer=1: model.resid_pdrop=0.5 is applied between layers, and model.n_layer=1 has none"
    )


@pytest.mark.usefixtures("untouched")
def test_accumulation_that_does_not_divide_is_named_with_the_batch(accepts: Any) -> None:
    ended = accepts("--trainer.batch_size=16", "--trainer.accumulation=3")
    assert ended.code == 2
    assert "trainer.batch_size=16" in ended.refusal
    assert "trainer.accumulation=3" in ended.refusal


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("sample --max_new_tokens=-1", "max_new_tokens=-1: "),
        ("sample --device=gpu", "device=gpu: "),
        ("eval --device=gpu", "device=gpu: "),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_wrong_option_is_rejected_before_a_run_is_read(accepts: Any, words: str, named: str) -> None:
    ended = accepts(*words.split(" "))
    assert ended.code == 2
    assert ended.refusal.startswith(named)


@pytest.mark.parametrize("verb", ["sample --run=", "eval --run=", "eval --text="])
@pytest.mark.usefixtures("untouched")
def test_empty_name_is_rejected(accepts: Any, verb: str) -> None:
    ended = accepts(*verb.split(" "))
    assert ended.code == 2
    assert ended.refusal.startswith(f"{verb.split('--')[1]}'': must name")


@pytest.mark.usefixtures("untouched")
def test_control_of_these_tests_reads_a_text(accepts: Any) -> None:
    assert accepts().refusal == "accepted"
    assert accepts("sample").refusal == "accepted"


@pytest.mark.usefixtures("untouched")
def test_name_from_a_file_does_not_steer_the_terminal(accepts: Any) -> None:
    assert accepts("--\x1b]0;title\x07=1").refusal.startswith("--\\x1b]0;title\\x07: there is no such setting")
    assert accepts("--größe=1").refusal.startswith("--größe: there is no such setting")


# ---- a file of settings


# Content; what its refusal starts with, after the file's name where there is one; the rule.
WRONG_FILES = {
    "broken": (b"a: [1", "--config=FILE", "not YAML"),
    "two_documents": (b"a: 1\n---\nb: 2\n", "--config=FILE", "not YAML"),
    "runs_a_command": (b"!!python/object/apply:os.system ['touch owned']", "--config=FILE", "not YAML"),
    "deep": (b"[" * 5_000, "--config=FILE", "not YAML"),
    "an_alias": (b"data:\n  path: &a x\nwandb:\n  name: *a\n", "--config=FILE", "not YAML: an alias"),
    "too_long": (b"# \n" * 400_000, "--config=FILE", "at most 1,048,576 are read"),
    "latin1": (b"data:\n  path: \xe9\n", "--config=FILE", "not UTF-8 text"),
    "a_list": (b"- 1\n", "--config=FILE", "must be a YAML mapping of settings"),
    "a_word": (b"hello", "--config=FILE", "must be a YAML mapping of settings"),
    "empty": (b"", "--config=FILE", "must be a YAML mapping of settings"),
    "unknown_key": (b"trainer:\n  max_itres: 3\n", "--config=FILE: trainer.max_itres", "did you mean 'trainer.max"),
    "unknown_dotted": (b"trainer.max_itres: 3\n", "--config=FILE: trainer.max_itres", "did you mean 'trainer.max"),
    "unknown_group": (b"zebra:\n  a: 1\n", "--config=FILE: zebra.a", NO_KEY),
    "group_is_a_number": (b"trainer: 3\n", "--config=FILE: trainer", NO_KEY),
    "key_is_a_number": (b"1: 2\n", "--config=FILE: 1", NO_KEY),
    "another_file": (b"config: other.yaml\n", "--config=FILE: config", NO_KEY),
    "asks_for_help": (b"help: true\n", "--config=FILE: help", NO_KEY),
    "asks_to_print": (b"print_config: true\n", "--config=FILE: print_config", NO_KEY),
    "wrong_type": (b"model:\n  n_layer: two\n", "model.n_layer=two", WHOLE),
    "true_as_number": (b"model:\n  n_layer: true\n", "model.n_layer=True", WHOLE),
    "number_as_bool": (b"model:\n  bias: 1\n", "model.bias=1", "must be True or False"),
    "wrong_rule": (b"model:\n  n_embd: 30\n  n_query_head: 4\n", "model.n_embd=30", "must be a multiple of model.n_"),
    "nan": (b"model:\n  attn_pdrop: .nan\n", "model.attn_pdrop=nan", "must be a finite number"),
    "null_as_number": (b"model:\n  n_layer: null\n", "model.n_layer=null", WHOLE),
    "null_as_bool": (b"model:\n  bias: null\n", "model.bias=null", "must be True or False"),
    "null_as_text": (b"data:\n  path: null\n", "data.path=null", "must be a text"),
    "null_as_betas": (b"trainer:\n  betas: null\n", "trainer.betas=null", "must be 2 numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_FILES)
@pytest.mark.usefixtures("untouched")
@pytest.mark.thin(7)
def test_wrong_file_is_rejected_with_its_fault(accepts: Any, tmp_path: Path, name: str) -> None:
    content, named, rule = WRONG_FILES[name]
    (tmp_path / name).write_bytes(content)
    ended = accepts(f"--config={tmp_path / name}")
    assert ended.code == 2
    named = named.replace("FILE", str(tmp_path / name))
    assert ended.refusal.startswith(f"{named}: ")
    assert rule in ended.refusal.removeprefix(named)


@pytest.mark.usefixtures("untouched")
def test_wrong_value_in_a_file_names_the_file(accepts: Any, tmp_path: Path) -> None:
    (tmp_path / "c").write_text("model:\n  n_layer: two\n")
    assert accepts(f"--config={tmp_path / 'c'}", "--model.n_layer=3").refusal.startswith("model.n_layer=two: ")


def test_flags_win_over_files_and_files_over_defaults(tmp_path: Path) -> None:
    first, second = tmp_path / "first=1 .yaml", tmp_path / "second.yaml"
    first.write_text("trainer:\n  max_iters: 11\n  batch_size: 22\nmodel:\n  n_layer: 2\n")
    second.write_text("model.n_layer: 3\n")
    flags = [f"--config={first}", "--trainer.max_iters=33", "--model.rope=True"]
    for order in itertools.permutations(flags):
        config = parse(order)
        assert (config.trainer.max_iters, config.trainer.batch_size, config.model.rope) == (33, 22, True)
        assert config.trainer.learning_rate == TrainerConfig().learning_rate
    assert parse([f"--config={first}", f"--config={second}"]).model.n_layer == 3
    assert parse([f"--config={second}", f"--config={first}"]).model.n_layer == 2
    assert parse(["--model.n_layer=5", "--model.n_layer=6"]).model.n_layer == 6


@pytest.mark.parametrize("field", ["temperature=-1", "nothing"])
def test_traceback_is_shown_with_debug_alone(accepts: Any, field: str) -> None:
    plain, debug = accepts("sample", f"--{field}"), accepts("sample", f"--{field}", "--debug")
    assert plain.code == debug.code == 2
    assert "Traceback" not in plain.err
    assert debug.err.startswith("Traceback")
    assert debug.err.endswith(plain.err)


def test_resume_takes_the_settings_of_the_runs_family() -> None:
    folder = Path(__file__).parents[1] / "old_runs" / "rnn"
    resumed = ["--trainer.resume=True", f"--system.work_dir={folder}", "--model.cell=lstm"]
    assert parse(resumed).model.type == "rnn"
    with pytest.raises(UsageError, match=r"^--model\.cell: no setting of model\.type=gpt"):
        parse(["--model.cell=lstm"])
