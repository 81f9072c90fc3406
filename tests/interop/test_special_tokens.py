"""Special tokens are kept through import, training and export, so that transformers stops where it did."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mingpt
from mingpt.cli import main
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.data import special_tokens
from mingpt.data.special_tokens import SpecialTokens
from mingpt.inference.generate import Sampling, generate
from mingpt.interop import exporting, importing
from mingpt.runs import config, run

os.environ["HF_HUB_OFFLINE"] = "1"

ADDED = {280: "<s>", 281: "</s>", 282: "<pad>", 283: "<|end|>", 284: "<|user|>"}
TEMPLATE = "{{ bos_token }}{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
TOKENS = {
    "bos_token": {"content": "<s>", "lstrip": False, "rstrip": False, "normalized": False, "__type": "AddedToken"},
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "additional_special_tokens": ["<|end|>", "<|user|>"],
    "chat_template": TEMPLATE,
    "padding_side": "left",
    "add_bos_token": True,
    "tokenizer_class": "PreTrainedTokenizerFast",
}
IDS = {"bos_token_id": 280, "eos_token_id": 281, "pad_token_id": 282}


@pytest.fixture
def folder(tmp_path: Path, bpe: Any, a_run: Any) -> Path:
    """A Llama of transformers with special tokens; its tokenizer_config.json is TOKENS."""
    there = a_run(rope=True, norm="rmsnorm", mlp="swiglu", bias=False, vocab_size=300)
    exporting.export(there, tmp_path / "theirs")
    described = json.loads(bpe.to_json())
    kind = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    described["added_tokens"] = [{"id": id, "content": text, **kind} for id, text in ADDED.items()]
    write(tmp_path / "theirs" / "tokenizer.json", described)
    write(tmp_path / "theirs" / "tokenizer_config.json", TOKENS)
    change(tmp_path / "theirs" / "config.json", **IDS)
    change(tmp_path / "theirs" / "generation_config.json", **IDS)
    return tmp_path / "theirs"


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def change(path: Path, **changes: Any) -> None:
    write(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def imported(folder: Path) -> SpecialTokens:
    return mingpt.load(importing.import_folder(folder, folder.parent / "run")).special


def trained_on(made: Path, text: Path) -> mingpt.Run:
    flags = [
        *(f"--config={made}/config.yaml", f"--model.pretrained_folder={made}", f"--data.path={text}"),
        *(f"--system.work_dir={made}-2", "--trainer.max_iters=2", "--trainer.learning_rate=1e-7"),
        *("--trainer.batch_size=2", "--trainer.device=cpu", "--wandb.mode=disabled"),
    ]
    return run.train(config.parse(flags))


@pytest.mark.full
def test_transformers_stops_at_the_same_tokens_after_import_training_and_export(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    start, how = torch.tensor([[5, 6]]), {"do_sample": False, "max_length": None, "max_new_tokens": 12}
    endless = model.generate(start, **how, eos_token_id=None)[0].tolist()
    stop = endless[5]
    change(folder / "generation_config.json", eos_token_id=[281, stop])
    right = endless[: endless.index(stop, 2) + 1]
    (tmp_path / "t.txt").write_text("ROMEO:\nAy me, sad hours <|end|> seem long!\n" * 30, encoding="utf-8")
    second = trained_on(importing.import_folder(folder, tmp_path / "run"), tmp_path / "t.txt")
    exporting.export(mingpt.load(second.folder), tmp_path / "out")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert back.generate(start, **how)[0].tolist() == right
    assert len(right) < len(endless)
    assert back.generation_config.eos_token_id == back.config.eos_token_id == [281, stop]
    assert back.generation_config.pad_token_id == 282


def test_tokenizer_of_an_export_has_the_special_tokens_and_the_template(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    exporting.export(mingpt.load(importing.import_folder(folder, tmp_path / "run")), tmp_path / "out")
    before, after = (transformers.AutoTokenizer.from_pretrained(each) for each in (folder, tmp_path / "out"))
    assert after.special_tokens_map == before.special_tokens_map
    assert sorted(after.all_special_tokens) == sorted(ADDED.values())
    assert after.padding_side == "left"
    chat = [{"role": "user", "content": "Was that my father?"}]
    assert after.apply_chat_template(chat, tokenize=False) == "<s><|user|>Was that my father?<|end|>"
    for text in ("Ay me </s> <|end|><pad>", " \n\t two  spaces ", "é\u0301\u212b ﬁ 汉字 🙂", ""):
        ids = after.encode(text)
        assert ids == before.encode(text)
        assert after.decode(ids) == text
        assert mingpt.load(tmp_path / "run").tokenizer.encode(text).tolist() == ids


@pytest.mark.full
def test_special_tokens_are_kept_by_training_and_resuming(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("ROMEO:\nAy me, sad hours seem long!\n" * 30, encoding="utf-8")
    first = importing.import_folder(folder, tmp_path / "run")
    second = trained_on(first, tmp_path / "t.txt")
    resumed = replace(second.config, trainer=replace(second.config.trainer, resume=True))
    kept = [mingpt.load(first).special, second.special, mingpt.load(second.folder).special, run.train(resumed).special]
    assert kept == 4 * [kept[0]]
    assert kept[0] == SpecialTokens(
        ids={"bos_token_id": [280], "eos_token_id": [281], "pad_token_id": [282]},
        tokens={"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
        extra=["<|end|>", "<|user|>"],
        chat_templates={"default": TEMPLATE},
        flags={"add_bos_token": True},
        padding_side="left",
    )


def test_names_follow_from_ids_where_nothing_says_them(folder: Path) -> None:
    """As with gpt2, whose tokenizer_config.json names none of its tokens."""
    write(folder / "tokenizer_config.json", {"model_max_length": 1024})
    change(folder / "generation_config.json", pad_token_id=5)
    found = imported(folder)
    assert found.tokens == {"bos_token": "<s>", "eos_token": "</s>"}  # token 5 is an ordinary one
    assert found.ids["pad_token_id"] == [5]


def test_older_and_newer_files_are_read_too(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    (folder / "generation_config.json").unlink()
    write(folder / "special_tokens_map.json", {"eos_token": {"content": "<|end|>"}, "extra_special_tokens": ["<pad>"]})
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    change(folder / "config.json", pad_token_id=-1, eos_token_id=[283, 281])
    found = imported(folder)
    assert found.ids == {"bos_token_id": [280], "eos_token_id": [283, 281]}
    assert (found.tokens["eos_token"], found.extra) == ("<|end|>", ["<pad>"])
    assert found.chat_templates == {"default": TEMPLATE}


def test_token_that_the_vocabulary_lacks_is_left_out_and_reported(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(folder / "tokenizer_config.json", pad_token="[PAD]", additional_special_tokens=["<|end|>", "[NEW]"])
    kept = mingpt.load(importing.import_folder(folder, tmp_path / "run")).special
    assert "pad_token" not in kept.tokens
    assert kept.extra == ["<|end|>"]
    for given in ("pad_token='[PAD]'", "additional_special_tokens='[NEW]'"):
        assert f"{folder}: {given} is no token of tokenizer.json, and is left out" in caplog.messages


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "id as text": ("config.json", {"bos_token_id": "0"}, "config.json: bos_token_id=0: must be a token's id, a list"),
    "ids of lists": ("generation_config.json", {"eos_token_id": [[1]]}, "eos_token_id=.*: must be a token"),
    "token as a number": ("tokenizer_config.json", {"eos_token": 3}, "eos_token=3: must be text, or an object with"),
    "extra as text": ("tokenizer_config.json", {"additional_special_tokens": "ab"}, "ab: must be a list of tokens"),
    "template as a number": ("tokenizer_config.json", {"chat_template": 1}, "chat_template: must be text, or a list"),
    "template without text": ("tokenizer_config.json", {"chat_template": [{"name": "a"}]}, "chat_template: must be"),
}


@pytest.mark.parametrize("case", WRONG)
def test_special_tokens_of_the_wrong_kind_are_rejected(folder: Path, tmp_path: Path, case: str) -> None:
    file, changes, reason = WRONG[case]
    change(folder / file, **changes)
    with pytest.raises(CheckpointError, match=reason):
        importing.import_folder(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_template_that_is_a_link_or_too_long_is_rejected(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").symlink_to("/etc/passwd")
    with pytest.raises(CheckpointError, match=r"chat_template.jinja: a link, which may lead anywhere"):
        importing.import_folder(folder, tmp_path / "run")
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").write_bytes(b" " * (1 << 20) + b".")
    with pytest.raises(CheckpointError, match=r"chat_template.jinja: can't be read .*at most 1,048,576 are read"):
        importing.import_folder(folder, tmp_path / "run")


@pytest.mark.parametrize("kept", [[], {"ids": {"eos_token_id": 1}}, {"tokens": {"eos_token": 1}}, {"evil": 1}], ids=str)
def test_state_with_special_tokens_of_another_shape_is_rejected(kept: Any) -> None:
    with pytest.raises(CheckpointError, match=r"state.json: special: "):
        special_tokens.from_state({"special": kept})


def test_checkpoint_from_before_special_tokens_were_kept_has_none() -> None:
    assert special_tokens.from_state({"step": 3}) == SpecialTokens()


def test_generation_stops_before_a_token_that_ends_a_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = mingpt.load(importing.import_folder(folder, folder.parent / "first"))
    prompt = torch.from_numpy(first.tokenizer.encode("ROMEO").astype("int64"))[None]
    ids = [int(id) for id in generate(first.model, prompt, 12, Sampling(temperature=0))]
    place = next(place for place in range(1, 12) if ids[place] not in ids[:place])

    change(folder / "generation_config.json", eos_token_id=[ids[place], 299])
    made = importing.import_folder(folder, folder.parent / "second")
    how = {"max_new_tokens": 12, "temperature": 0, "stop_at_eos": True}
    second, stopped = mingpt.load(made), first.generate("ROMEO", place, temperature=0)
    assert second.generate("ROMEO", **how) == stopped
    assert second.generate("ROMEO", 12, temperature=0) == first.generate("ROMEO", 12, temperature=0) != stopped
    assert main.main(["sample", f"--run={made}", "--prompt=ROMEO", *(f"--{k}={v}" for k, v in how.items())]) == 0
    assert capsys.readouterr().out == stopped + "\n"


def test_stopping_without_a_token_that_ends_a_text_is_rejected(a_run: Any) -> None:
    with pytest.raises(UsageError, match=r"^stop_at_eos=True: nowhere has no token that ends a text; imported"):
        a_run().generate("abc", 5, stop_at_eos=True)
