"""A folder of somebody's model becomes an ordinary run that computes the same, or is refused with the reason."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mingpt
from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.data.data_config import DataConfig
from mingpt.data.dataset import prepare
from mingpt.interop import exporting, importing, parity
from mingpt.runs import checkpoint, run
from mingpt.runs import config as settings
from mingpt.runs.config import Config
from mingpt.runs.wandb_log import WandbConfig
from mingpt.training.trainer_config import TrainerConfig
from mingpt.utils import SystemConfig

os.environ["HF_HUB_OFFLINE"] = "1"

SIZES = {
    "vocab_size": 300,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 17,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
LLAMA = {"num_key_value_heads": 2, "intermediate_size": 40, "head_dim": 10}
THEIRS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "starcoder2": {"num_key_value_heads": 2, "intermediate_size": 40, "sliding_window": 5},
    "llama": LLAMA,
    "mistral": {**LLAMA, "sliding_window": 5},
    "qwen3": {**LLAMA, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1, "layer_types": None},
}
every_class = pytest.mark.parametrize("name", THEIRS)


@pytest.fixture
def theirs(tmp_path: Path, bpe: Any) -> Any:
    """make("llama", dtype) -> a folder as transformers writes it, of random weights; more than 280 tokens have rows."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()

    def make(name: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
        shards = {"max_shard_size": changes.pop("max_shard_size")} if "max_shard_size" in changes else {}
        torch.manual_seed(3)
        config = transformers.AutoConfig.for_model(name, **{**SIZES, **THEIRS[name], **changes})
        model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p + 0.1 * torch.randn(p.shape))
        model.save_pretrained(tmp_path / name, **shards)
        (tmp_path / name / "tokenizer.json").write_text(bpe.to_json(), encoding="utf-8")
        return tmp_path / name

    return make


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found |= safetensors.torch.load_file(path)
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@every_class
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.thin(3)
def test_weights_come_back_as_they_were(theirs: Any, tmp_path: Path, name: str, dtype: str) -> None:
    folder = theirs(name, exporting.DTYPES[dtype])
    made = importing.import_folder(folder, tmp_path / "run")
    exported = exporting.export(mingpt.load(made), tmp_path / "back", dtype)
    assert same(tensors_of(tmp_path / "back"), tensors_of(folder))
    assert {t.dtype for t in tensors_of(tmp_path / "back").values()} == {exporting.DTYPES[dtype]}
    told, again = (json.loads((each / "config.json").read_text()) for each in (folder, tmp_path / "back"))
    assert {told[key] - again[key] for key in ("bos_token_id", "eos_token_id", "vocab_size")} == {0}
    assert told["architectures"] == again["architectures"] == [exported.class_name]
    assert (tmp_path / "back" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


@every_class
@pytest.mark.thin(2)
def test_run_computes_what_the_folder_does(theirs: Any, tmp_path: Path, name: str) -> None:
    folder = theirs(name)
    imported = mingpt.load(importing.import_folder(folder, tmp_path / "run"))
    found = parity.compare(imported, folder)
    assert found.worst["float32"] <= 1e-5
    assert found.written == (16, 16)


@every_class
@pytest.mark.thin(2)
def test_shards_are_read_as_one_model(theirs: Any, tmp_path: Path, name: str) -> None:
    folder = theirs(name, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert same(
        exporting.their_weights(mingpt.load(importing.import_folder(folder, tmp_path / "run"))), tensors_of(folder)
    )


def test_first_gpt2_files_are_imported(theirs: Any, tmp_path: Path) -> None:
    """As the Hub has them: no `transformer.` before the names, and each layer's mask among the weights."""
    folder = theirs("gpt2")
    stored = {name.removeprefix("transformer."): tensor for name, tensor in tensors_of(folder).items()}
    masks = {f"h.{i}.attn.bias": torch.ones(17, 17).tril()[None, None] for i in range(3)}
    safetensors.torch.save_file(stored | masks, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    old = {"n_ctx": 17, "task_specific_params": {"text-generation": {"do_sample": True}}, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps({k: config[k] for k in config if "tie" not in k} | old))
    imported = mingpt.load(importing.import_folder(folder, tmp_path / "run"))
    assert {n.removeprefix("transformer."): 0 for n in exporting.their_weights(imported)} == dict.fromkeys(stored, 0)
    assert imported.config.model.tie_embeddings


@pytest.mark.parametrize("told", [{"rope_scaling": None}, {"rope_scaling": {"type": "default"}}], ids=str)
def test_files_of_transformers_4_are_imported(folder: Path, edit: Any, tmp_path: Path, told: Any) -> None:
    edit(folder, rope_parameters=..., rope_theta=500.0, torch_dtype="bfloat16", head_dim=..., **told)
    imported = mingpt.load(importing.import_folder(folder, tmp_path / "run"))
    assert imported.model.config.rope_base == 500.0
    assert imported.model.config.head_width == 4


# ---- what the run is


def test_own_export_comes_back_with_its_vocabulary(a_run: Any, tmp_path: Path) -> None:
    there = a_run(tie_embeddings=True, bias=False)
    exporting.export(there, tmp_path / "theirs")
    back = mingpt.load(importing.import_folder(tmp_path / "theirs", tmp_path / "run"))
    assert back.tokenizer.to_json() == there.tokenizer.to_json()
    assert back.config.data.tokenizer == "char"
    assert back.generate("abc", 20, seed=3) == there.generate("abc", 20, seed=3)
    assert [w.shape for w in back.attention("abc")] == [(1, 6, 3, 3)] * 2


def test_imported_run_is_evaluated_and_trained_on(
    theirs: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "t.txt").write_text("ROMEO:\nAy me, sad hours seem long!\n" * 30, encoding="utf-8")
    made = importing.import_folder(theirs("qwen3"), tmp_path / "first")
    imported = mingpt.load(made)
    assert imported.progress.step == 0
    assert imported.config.model == imported.model.config
    assert (imported.config.model.vocab_size, imported.config.model.block_size) == (300, 17)
    before = imported.evaluate(str(tmp_path / "t.txt")).nats
    with pytest.raises(DataError, match="imported, so it has no text of its own; name one with --text"):
        imported.evaluate()
    again = Config(
        system=SystemConfig(work_dir=str(tmp_path / "second")),
        data=DataConfig(**{**vars(imported.config.data), "path": str(tmp_path / "t.txt")}),
        model=replace(imported.config.model, pretrained_folder=str(made)),
        trainer=TrainerConfig(max_iters=3, batch_size=2, learning_rate=1e-3, device="cpu"),
        wandb=WandbConfig(mode="disabled"),
    )
    second = run.train(again)
    assert f"weights from {made}/checkpoints/step_000000, optimizer fresh" in caplog.messages
    assert second.model.config.vocab_size == 300
    assert second.tokenizer.vocab_size == 280
    assert second.evaluate().nats < before
    assert mingpt.load(second.folder).model.config.vocab_size == 300
    assert torch.equal(mingpt.load(made).model.head.weight, imported.model.head.weight)


def test_imported_run_that_was_moved_has_its_tokenizer(
    theirs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings are a start of others, wherever it lies and whoever asks."""
    (tmp_path / "t.txt").write_text("ROMEO:\nAy me, sad hours seem long!\n" * 30, encoding="utf-8")
    moved = importing.import_folder(theirs("qwen3"), tmp_path / "first").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    for place in (Path("moved"), moved):
        config = settings.parse(
            [f"--config={place}/config.yaml", "--data.path=t.txt", f"--model.pretrained_folder={moved}"]
        )
        assert config.data.tokenizer == str(moved / "tokenizer.json")
        assert prepare(config.data).tokenizer.vocab_size == 280
    assert settings.parse(["--data.tokenizer=tokenizer.json"]).data.tokenizer == "tokenizer.json"
    assert "tokenizer: tokenizer.json\n" in (moved / "config.yaml").read_text()


def test_imported_run_is_not_resumed(folder: Path, tmp_path: Path) -> None:
    made = importing.import_folder(folder, tmp_path / "run")
    (tmp_path / "t.txt").write_text("\n !abcdeé" * 30, encoding="utf-8")
    config = Config(
        system=SystemConfig(work_dir=str(made)),
        data=DataConfig(path=str(tmp_path / "t.txt"), block_size=17),
        model=mingpt.load(made).config.model,
        trainer=TrainerConfig(resume=True, resume_changed=True, device="cpu"),
    )
    with pytest.raises(CheckpointError, match="imported, so there is no training to resume; begin one in another"):
        run.train(config)
    assert checkpoint.steps(made) == [0]


def test_row_without_a_token_does_not_stop_generation(theirs: Any, tmp_path: Path) -> None:
    imported = mingpt.load(importing.import_folder(theirs("llama"), tmp_path / "run"))
    with torch.no_grad():
        imported.model.head.weight.zero_()
        imported.model.head.weight[290] = 5.0 * imported.model.embedding.weight[11]
        imported.model.head.weight[291] = -imported.model.head.weight[290]
    assert imported.generate("a", 5, temperature=0) == "a"


def test_imported_run_gets_the_place_given(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [str(importing.import_folder(folder)) for _ in range(2)] == ["out/theirs", "out/theirs-2"]
    with pytest.raises(UsageError, match="already holds a run"):
        importing.import_folder(folder, "out/theirs")
    assert run.load_newest(device="cpu").folder == Path("out/theirs-2").absolute()


@pytest.mark.parametrize(
    ("says", "asked", "size"), [(17, None, 17), (99, 40, 40), (5000, None, 1024), (5000, 3000, 3000)]
)
def test_block_is_as_long_as_given(
    folder: Path, edit: Any, tmp_path: Path, says: int, asked: Any, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    edit(folder, max_position_embeddings=says)
    imported = mingpt.load(importing.import_folder(folder, tmp_path / "run", asked))
    assert imported.model.config.block_size == imported.config.data.block_size == size
    assert any("--block_size takes more" in line for line in caplog.messages) == (says > 1024 and asked is None)


def test_block_is_no_longer_than_the_folder_says(a_run: Any, folder: Path, tmp_path: Path) -> None:
    exporting.export(a_run(), tmp_path / "gpt2")
    for where, size, rule in ((folder, 18, "at most 17"), (tmp_path / "gpt2", 16, "must be 17")):
        with pytest.raises(UsageError, match=f"block_size={size}: .*{rule}, as the folder says"):
            importing.import_folder(where, tmp_path / "run", size)
    assert not (tmp_path / "run").exists()
