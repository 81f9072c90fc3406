"""What is exported computes the same in transformers, and what can't be is refused with the reason."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from mingpt.core.errors import MingptError, UsageError
from mingpt.data.tokenizers import ByteTokenizer
from mingpt.interop import exporting, parity
from mingpt.interop.architectures import ARCHITECTURES, architecture_of, spelled
from mingpt.model import FAMILIES
from mingpt.models.attention.masks import MASKS
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES
from mingpt.models.mlp import MLPS
from mingpt.models.norms import NORMS
from mingpt.runs.trained_run import Run

os.environ["HF_HUB_OFFLINE"] = "1"

LLAMA = {"rope": True, "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
EXPORTED: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("gpt2", {}),
    "tied": ("gpt2", {"tie_embeddings": True, "mlp_width": 7, "norm_eps": 0.01}),
    "no_bias": ("gpt2", {"bias": False, "init": "gpt2"}),
    "no_positions": ("gpt2", {"position": "none", "score": "dot", "mlp": "relu2"}),
    "window_of_a_block": ("gpt2", {"window": 17}),
    "rope": ("starcoder2", {"rope": True, "n_kv_head": 2, "window": 5}),
    "rope_no_bias": ("starcoder2", {"rope": True, "bias": False, "rope_base": 50.0, "head_dim": 10}),
    "llama": ("llama", {**LLAMA, "n_kv_head": 2, "head_dim": 10}),
    "llama_qkv_bias": ("llama", {**LLAMA, "qkv_bias": True, "n_kv_head": 2}),
    "llama_bias": ("llama", {**LLAMA, "bias": True, "tie_embeddings": True}),
    "mistral": ("mistral", {**LLAMA, "n_kv_head": 3, "window": 5}),
    "mistral_odd": ("mistral", {**LLAMA, "n_query_head": 5, "head_dim": 4}),
    "qwen3": ("qwen3", {**LLAMA, "qk_norm": True, "window": 5, "window_pattern": "fw", "n_kv_head": 1}),
    "qwen3_full": ("qwen3", {**LLAMA, "qk_norm": True}),
}


@pytest.mark.parametrize("case", EXPORTED)
@pytest.mark.thin(2)
def test_transformers_computes_the_same_function(a_run: Any, tmp_path: Path, case: str) -> None:
    pytest.importorskip("transformers")
    name, settings = EXPORTED[case]
    run = a_run(**settings)
    assert exporting.export(run, tmp_path / "out").class_name == ARCHITECTURES[name].class_name
    found = parity.compare(run, tmp_path / "out")
    assert found.worst["float32"] <= 1e-5
    assert found.worst["float64"] <= (1e-10 if name == "gpt2" else 1e-5)  # theirs turn and norm in float32
    assert found.tokens == 17
    assert found.written == (16, 16)
    assert found.largest > 0.3


def test_folder_has_its_files_and_no_others(a_run: Any, tmp_path: Path) -> None:
    exporting.export(a_run(), tmp_path / "deep" / "out")
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == [
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    ]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_tied_table_is_stored_once_and_no_biases_are_added(a_run: Any, tmp_path: Path) -> None:
    exporting.export(a_run(tie_embeddings=True, bias=False), tmp_path / "out")
    stored = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert "lm_head.weight" not in stored
    biases = [tensor for name, tensor in stored.items() if name.endswith("bias")]
    assert len(biases) == 2 * 6 + 1
    assert not any(tensor.count_nonzero() for tensor in biases)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_numbers_are_compared_with_narrow_ones(a_run: Any, tmp_path: Path, dtype: str) -> None:
    pytest.importorskip("transformers")
    run = a_run(**LLAMA)
    exporting.export(run, tmp_path / "out", dtype)
    stored = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {exporting.DTYPES[dtype]}
    assert parity.compare(run, tmp_path / "out", exporting.DTYPES[dtype]).worst["float32"] <= 1e-5
    with pytest.raises(MingptError, match="computes something else"):
        parity.compare(run, tmp_path / "out")


@pytest.mark.parametrize("name", ["transformer.h.1.mlp.c_fc.bias", "transformer.wpe.weight"])
def test_comparison_sees_one_other_number(a_run: Any, tmp_path: Path, name: str) -> None:
    pytest.importorskip("transformers")
    run = a_run()
    exporting.export(run, tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    stored = safetensors.torch.load_file(path)
    stored[name].view(-1)[3] += 0.1
    safetensors.torch.save_file(stored, path, {"format": "pt"})
    with pytest.raises(MingptError, match="computes something else"):
        parity.compare(run, tmp_path / "out")
    del stored[name]
    safetensors.torch.save_file(stored, path, {"format": "pt"})
    with pytest.raises(MingptError, match="transformers finds"):
        parity.compare(run, tmp_path / "out")


def test_comparison_sees_another_tokenizer(a_run: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    run = a_run()
    exporting.export(run, tmp_path / "out")
    path = tmp_path / "out" / "tokenizer.json"
    described = json.loads(path.read_text())
    words = described["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    path.write_text(json.dumps(described))
    with pytest.raises(MingptError, match="its tokenizer is another"):
        parity.compare(run, tmp_path / "out")


def test_tokenizer_that_does_not_give_a_text_back_is_an_error(a_run: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    run = a_run()
    exporting.export(run, tmp_path / "out")
    path = tmp_path / "out" / "tokenizer.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"normalizer": {"type": "Prepend", "prepend": "b"}}))
    with pytest.raises(MingptError, match="its tokenizer is another"):
        parity.compare(run, tmp_path / "out")


def test_tokenizer_that_was_not_compared_is_reported_so(
    a_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    run = a_run()
    exporting.export(run, tmp_path / "out")
    found = parity.compare(run, tmp_path / "out")
    assert found.characters == 17
    assert "  tokenizer: the same ids for 17 characters" in str(found).splitlines()
    monkeypatch.setattr(parity, "spells", lambda tokenizer, text: text == parity.LINE_END)
    blind = parity.compare(run, tmp_path / "out")
    assert blind.characters == 0
    assert "  tokenizer: not compared: no text to try it on" in str(blind).splitlines()


NOWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "learned_qkv_bias": ({"bias": False, "qkv_bias": True}, "model.qkv_bias=True: .*: GPT2LMHeadModel has the same as"),
    **{f"score={s}": ({"score": s}, f"model.score={s}: ") for s in SCORES if s not in ("scaled_dot", "dot")},
    **{f"mask={m}": ({"mask": m}, f"model.mask={m}: ") for m in MASKS if m != "causal"},
    "alibi": ({"position": "alibi"}, "model.position=alibi: .*: GPT2LMHeadModel has learned, or none"),
    "learned_window": ({"window": 5}, "model.window=5: .*: GPT2LMHeadModel has null for model.window;"),
    "convolution": (
        {"conv_width": 4},
        r"model.conv_width=4: .*: GPT2LMHeadModel has 1 \(no convolution\) for model.conv_width; to export",
    ),
    "learned_gqa": ({"n_kv_head": 2}, "model.n_kv_head=2: .*: GPT2LMHeadModel has as many as query heads"),
    "rope_dot": (
        {"rope": True, "score": "dot"},
        "model.position=rope: .*; Starcoder2.* has scaled_dot for",
    ),
    "rope_rmsnorm": ({"rope": True, "norm": "rmsnorm"}, "model.norm=rmsnorm: .*: Starcoder2.* has layernorm for"),
    "pattern": ({**LLAMA, "window": 5, "window_pattern": "wf"}, "model.window=5: .* Mistral.* has the same in every"),
    "qkv_bias_window": (
        {**LLAMA, "qkv_bias": True, "window": 5},
        "model.window=5: .* Llama.* has null for model.window; Mistral.* has the same as model.bias for model.qkv_bias",
    ),
    "qk_norm_bias": (
        {**LLAMA, "qk_norm": True, "bias": True},
        "model.qk_norm=True: .* Qwen3.* has False for",
    ),
}


@pytest.mark.parametrize("case", NOWHERE)
def test_model_that_no_class_computes_is_not_exported(a_run: Any, tmp_path: Path, case: str) -> None:
    settings, reason = NOWHERE[case]
    with pytest.raises(UsageError, match=f"^{reason}"):
        exporting.export(a_run(**settings), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "gpt"])
def test_model_of_another_family_is_not_exported(a_run: Any, tmp_path: Path, family: str) -> None:
    with pytest.raises(UsageError, match=f"^model.type={family}: no class of transformers computes it"):
        exporting.export(a_run(type=family), tmp_path / "out")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_window_is_a_rule_or_an_entry_of_every_architecture(name: str) -> None:
    """The one setting of `ELSEWHERE` that a class may lack."""
    written = ARCHITECTURES[name].entries({"windows": [None], "rope_base": 1.0, "rope_scaling": 1.0, "bias": False})
    assert "sliding_window" in written or "window" in {rule.setting for rule in ARCHITECTURES[name].rules}


def test_every_variant_is_exported_or_rejected_by_name(a_run: Any) -> None:
    for key, registry in {"position": POSITIONS, "score": SCORES, "norm": NORMS, "mlp": MLPS, "mask": MASKS}.items():
        for value in registry:
            settings = spelled(a_run(**{key: value}).model)
            if any(not each.broken(settings) for each in map(ARCHITECTURES.__getitem__, ARCHITECTURES)):
                assert ARCHITECTURES[architecture_of(settings)].broken(settings) == []
            else:
                with pytest.raises(UsageError, match=rf"^model\.{key}={value}: "):
                    architecture_of(settings)


def test_folder_in_use_is_rejected_and_an_empty_one_taken(a_run: Any, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("used", "file"):
        with pytest.raises(UsageError, match="must be a new folder, or an empty one"):
            exporting.export(a_run(), tmp_path / name)
    (tmp_path / "empty").mkdir()
    exporting.export(a_run(), tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").is_file()
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["mine.txt"]


def test_full_disk_leaves_no_half_folder(a_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "tokenizer.json":
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr(exporting, "write_atomic", full)
    with pytest.raises(UsageError, match=r"can't be written: No space left on device"):
        exporting.export(a_run(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="no rights of this kind there")
@pytest.mark.parametrize(
    ("mask", "file", "folder"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755), (0o002, 0o664, 0o775)]
)
def test_umask_is_kept(
    a_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int, file: int, folder: int
) -> None:
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", None)  # which all threads share
            exporting.export(a_run(), tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == folder
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {file}


def test_wrong_type_of_numbers_is_rejected(a_run: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^dtype=float8: must be one of float32, bfloat16, float16"):
        exporting.export(a_run(), tmp_path / "out", "float8")


def test_bytes_are_written_by_transformers_as_they_are(a_run: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    run: Run = a_run(vocab_size=256)
    run.tokenizer = ByteTokenizer()
    exporting.export(run, tmp_path / "out")
    assert parity.compare(run, tmp_path / "out").worst["float32"] <= 1e-5
