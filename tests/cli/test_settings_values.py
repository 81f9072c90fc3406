"""What a value of a setting means, on the command line and in a file, and that it comes back as it was."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from mingpt.core.errors import UsageError
from mingpt.data.data_config import DataConfig
from mingpt.data.tokenizers import TOKENIZERS
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.config import GPTConfig
from mingpt.models.init import INITS
from mingpt.models.mlp import MLPS
from mingpt.models.norms import NORMS
from mingpt.runs.config import Config, parse, read
from mingpt.runs.wandb_log import WANDB_MODES, WandbConfig
from mingpt.training.optim import OPTIMIZERS, SCHEDULES
from mingpt.training.trainer_config import TrainerConfig
from mingpt.utils import SystemConfig

# ---- what a value means

# Texts that YAML 1.1, YAML 1.2 or a library on top of them reads as a number, a date, nothing, a list, a comment, ...
ODD_NAMES = (
    *("123", "1e3", "1e-3", "0E0", "0x1f", "1_000", "0o7", "12:30", "2020-01-01", "nan", ".inf", "True", "yes", "off"),
    *(
        "[a]",
        "[1]",
        "{}",
        "{a: 1}",
        "a: b",
        "a,b",
        "- x",
        "-",
        "--x",
        "---",
        "...",
        "?",
        "!x",
        "&a",
        "*a",
        "%",
        "`",
        "@",
    ),
    *("=", "<<", "#", "#1", "'", "'q'", '"', " ", "\t", "\n", "\r\n", "\x85", "\u2028", "\ufeff", "a\ufeff", "\x7f"),
)
NULLS = ("null", "None", "~")


@pytest.mark.parametrize("key", ["rope", "bias"])  # one whose default is False, one whose default is True
@pytest.mark.parametrize(
    ("word", "value"),
    [("True", True), ("true", True), ("yes", True), ("False", False), ("false", False), ("no", False)],
)
@pytest.mark.thin(4)
def test_false_is_false_in_every_spelling(key: str, word: str, value: bool, tmp_path: Path) -> None:
    assert getattr(parse([f"--model.{key}={word}"]).model, key) is value
    assert getattr(parse([f"--model.{key}", word]).model, key) is value
    (tmp_path / "c").write_text(f"model:\n  {key}: {word}\n")
    assert getattr(parse([f"--config={tmp_path / 'c'}"]).model, key) is value


@pytest.mark.parametrize("word", ["None", "null"])
@pytest.mark.parametrize(
    "key", ["model.n_kv_head", "model.position", "model.pretrained_folder", "system.work_dir", "wandb.name"]
)
def test_none_is_null(key: str, word: str) -> None:
    assert parse([f"--{key}=2" if key == "model.n_kv_head" else f"--{key}=rope", f"--{key}={word}"]).flat()[key] is None


@pytest.mark.parametrize("path", ["a=b.txt", "two words.txt", "é’😀", *ODD_NAMES])
@pytest.mark.thin(10)
def test_path_is_read_as_it_is_written(path: str) -> None:
    config = parse([f"--data.path={path}", f"--wandb.project={path}"])
    assert (config.data.path, config.wandb.project) == (path, path)


@pytest.mark.parametrize("word", ["0.8,0.9", "[0.8,0.9]", "[0.8, 0.9]"])
def test_betas_need_one_spelling(word: str) -> None:
    assert parse([f"--trainer.betas={word}"]).trainer.betas == (0.8, 0.9)


def test_number_without_a_point_in_its_mantissa_is_a_text() -> None:
    config = parse(["--trainer.learning_rate=1e-3", "--trainer.weight_decay=0"])
    assert (config.trainer.learning_rate, config.trainer.weight_decay) == (0.001, 0.0)
    assert isinstance(config.trainer.weight_decay, float)


# ---- there and back


@pytest.mark.usefixtures("untouched")
def test_printed_settings_are_those_that_were_given(chargpt: Any, tmp_path: Path) -> None:
    words = [
        "--data.path=a=b c.txt",
        "--model.rope=yes",
        "--trainer.betas=0.8,0.9",
        "--wandb.name=1e3",
        "--model.n_kv_head=2",
    ]
    printed = chargpt("--print_config", *words)
    assert (printed.code, printed.err) == (0, "")
    (tmp_path / "c").write_text(printed.out, encoding="utf-8")
    assert read(tmp_path / "c") == parse(words)
    assert parse(words) != Config()


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(ODD_NAMES)
SHARES = st.floats(0, 1, exclude_max=True)


POSITIVE = st.floats(0, 1e300, exclude_min=True)


@st.composite
def models(draw: st.DrawFn) -> GPTConfig:
    """Any settings of a model that break no rule."""
    heads, rope = draw(st.integers(1, 12)), draw(st.booleans())
    return GPTConfig(
        n_layer=draw(st.integers(1, 99)),
        n_query_head=heads,
        n_kv_head=draw(st.none() | st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0])),
        n_embd=2 * heads * draw(st.integers(1, 99)),
        rope=rope,
        head_dim=draw(st.none() | st.integers(1, 99).map(lambda n: 2 * n)),
        norm_eps=draw(st.none() | POSITIVE),
        mlp_width=draw(st.none() | st.integers(1, 10**6)),
        position=draw(st.none() | st.sampled_from(["rope"] if rope else list(POSITIONS))),
        bias=draw(st.booleans()),
        norm=draw(st.sampled_from(list(NORMS))),
        mlp=draw(st.sampled_from(list(MLPS))),
        init=draw(st.sampled_from(list(INITS))),
        embd_pdrop=draw(SHARES),
        attn_pdrop=draw(SHARES),
        pretrained_folder=draw(st.none() | NAMES),
    )


@st.composite
def trainers(draw: st.DrawFn) -> TrainerConfig:
    """Any settings of training that break no rule."""
    accumulation = draw(st.integers(1, 5))
    return TrainerConfig(
        max_iters=draw(st.integers(1, 10**12)),
        accumulation=accumulation,
        batch_size=accumulation * draw(st.integers(1, 9)),
        optimizer=draw(st.sampled_from(list(OPTIMIZERS))),
        schedule=draw(st.sampled_from(list(SCHEDULES))),
        learning_rate=draw(POSITIVE),
        betas=(draw(SHARES), draw(SHARES)),
        weight_decay=draw(st.just(0.0) | POSITIVE),
        resume_changed=draw(st.booleans()),
    )


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any settings that break no rule."""
    kind = draw(st.sampled_from(list(TOKENIZERS)) | st.just("a b/tokenizer.json"))
    return Config(
        system=SystemConfig(
            seed=draw(st.integers(0, 2**63 - 1)), work_dir=draw(st.none() | NAMES), threads=draw(st.integers(0, 1024))
        ),
        data=DataConfig(
            path=draw(NAMES),
            tokenizer=kind,
            vocab_size=draw(st.integers(256, 10**6)) if kind == "bpe" else DataConfig.vocab_size,
            block_size=draw(st.integers(1, 10**6)),
            val_fraction=draw(st.floats(1e-9, 1 - 1e-9)),
        ),
        model=draw(models()),
        trainer=draw(trainers()),
        wandb=WandbConfig(mode=draw(st.sampled_from(WANDB_MODES)), project=draw(NAMES), name=draw(st.none() | NAMES)),
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "config.yaml"


@pytest.mark.parametrize("name", [*ODD_NAMES, *NULLS])
@pytest.mark.thin(8)
def test_odd_name_comes_back_from_the_run_folder_as_it_was(scratch: Path, name: str) -> None:
    config = Config(data=DataConfig(path=name), system=SystemConfig(work_dir=name), wandb=WandbConfig(name=name))
    scratch.write_bytes(config.to_yaml().encode())
    assert read(scratch) == config


WITHOUT_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]  # a failing search would take minutes


@settings(max_examples=30, deadline=None, phases=WITHOUT_SHRINKING)
@given(config=configs())
@pytest.mark.full
def test_saved_settings_come_back_as_they_were(scratch: Path, config: Config) -> None:
    scratch.write_bytes(config.to_yaml().encode())
    assert read(scratch) == config


@settings(max_examples=25, deadline=None, phases=WITHOUT_SHRINKING)
@given(config=configs())
def test_settings_as_flags_come_back_as_they_were(config: Config) -> None:
    flat = config.flat()
    words = [f"--{key}={'null' if value is None else value}" for key, value in flat.items()]
    ambiguous = {*NULLS} & {
        *(config.system.work_dir, config.model.pretrained_folder, config.wandb.name, config.wandb.project)
    }
    if not ambiguous:
        random.Random(0).shuffle(words)
        assert parse(words) == config


KEYS, OPTIONS = sorted(Config().flat()), ("config", "temperature", "run", "prompt", "text", "top_k")
VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["True", "null", "[", "]", "{", "0.9,0.95", "[0.9, 0.95]", "!!x", "&a", "*a", "--", "=", "\n", "\0", "auto"]
    ),
)
WORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.builds("--{}={}".format, st.sampled_from([*KEYS, *OPTIONS]), VALUES),
    st.builds("--{}".format, st.sampled_from(KEYS)),
    st.builds("--{}={}".format, st.text(max_size=6).filter(str.isprintable), VALUES),
    st.sampled_from(["train", "sample", "eval", "--help", "-h", "--version", "--", "--print_config", "--model"]),
)  # fmt: skip


@settings(max_examples=80, deadline=None, phases=WITHOUT_SHRINKING)
@given(words=st.lists(WORDS, max_size=5), verb=st.sampled_from([[], ["train"], ["sample"], ["eval"]]))
@example(words=["--model.pretrained_folder=nowhere"], verb=[])
@pytest.mark.full
def test_garbage_ends_in_one_line(accepts: Any, words: list[str], verb: list[str]) -> None:
    ended = accepts(*verb, *words)
    assert ended.code in (0, 2, 3)
    if ended.code:
        assert (ended.refusal == "accepted") is (ended.code == 3)
    else:
        assert ended.err == ""
        assert ended.out != ""


def test_rules_leave_settings_as_they_were() -> None:
    config = parse(["--model.rope=True"])
    assert (config.model.position, config.model.n_kv_head) == (None, None)
    assert yaml.safe_load(config.to_yaml())["model"]["position"] is None
    with pytest.raises(AttributeError):
        config.model.rope = False  # type: ignore[misc]
    with pytest.raises(UsageError, match=r"model\.attn_pdrop=nan"):
        GPTConfig(attn_pdrop=math.nan)


@pytest.mark.parametrize(
    ("value", "prompts"),
    [
        ("ROMEO:", ["ROMEO:"]),
        ("a: b, [c", ["a: b, [c"]),
        ("", [""]),
        ('["a, b", "c\\n", "["]', ["a, b", "c\n", "["]),
        ("null", None),
        ('["null"]', ["null"]),
        *((f'["{name}"]', [name]) for name in ("1e3", "~", "yes", "- x", "\\\\")),
    ],
)
@pytest.mark.thin(4)
def test_prompts_are_one_text_or_a_json_list_and_come_back_as_they_were(
    tmp_path: Path, value: str, prompts: list[str] | None
) -> None:
    prompts = ["\\"] if prompts == ["\\\\"] else prompts
    config = parse([f"--sample.prompts={value}"])
    assert config.flat()["sample.prompts"] == prompts
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert read(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("value", ["[a", "[1]", '["a", 1]', '[["a"]]'])
def test_wrong_list_of_prompts_is_rejected_with_its_form(value: str, tmp_path: Path) -> None:
    rule = r'must be a text, a JSON list of texts, as \["To be", "Or not"\], or null$'
    with pytest.raises(UsageError, match=rf"^sample\.prompts=.*: {rule}"):
        parse([f"--sample.prompts={value}"])
    (tmp_path / "a.yaml").write_text("sample:\n  prompts: [a, 1]\n")
    with pytest.raises(UsageError, match=rf"^sample\.prompts=.*: {rule}"):
        parse([f"--config={tmp_path / 'a.yaml'}"])
