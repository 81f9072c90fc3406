"""A checkpoint of another model, vocabulary or length: refused with what differs, or fitted as was said."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mingpt.core.errors import CheckpointError
from mingpt.data.tokenizers import CharTokenizer
from mingpt.model import GPT
from mingpt.runs import checkpoint, compatibility, run, run_dir


@pytest.fixture(scope="module", params=[False, True], ids=["learned", "rope"])
def trained(request: Any, tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> run.Run:
    folder = tmp_path_factory.mktemp("trained") / "run"
    return run.train(tiny(folder, {"trainer.max_iters": 3, "model.rope": request.param}))


@pytest.fixture
def learned(tmp_path: Path, tiny: Any) -> run.Run:
    return run.train(tiny(tmp_path / "learned", {"trainer.max_iters": 3}))


def start_from(trained: run.Run, tiny: Any, folder: Path, changes: dict[str, Any]) -> Any:
    return tiny(folder, {"trainer.max_iters": 1, "model.pretrained_folder": str(trained.folder), **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model.n_query_head": 4}, ["model.n_query_head is 2 there and 4 here", "model.n_kv_head is 2 there"]),
        ({"model.n_kv_head": 1}, ["model.n_kv_head is 2 there and 1 here"]),
        ({"model.rope": True}, ["model.position is learned there and rope here"]),
        ({"model.position": "none"}, ["model.position is learned there and none here"]),
        ({"model.n_layer": 2}, ["model.n_layer is 1 there and 2 here"]),
        ({"model.n_embd": 16, "model.mlp": "swiglu"}, ["model.n_embd is 8 there and 16 here", "model.mlp is"]),
        ({"model.norm": "rmsnorm"}, ["model.norm is layernorm there and rmsnorm here"]),
        ({"model.bias": False}, ["model.bias is True there and False here"]),
    ],
)
@pytest.mark.thin(3)
def test_weights_of_another_model_are_rejected(
    learned: run.Run, tiny: Any, tmp_path: Path, changes: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(CheckpointError, match="another model") as refused:
        run.train(start_from(learned, tiny, tmp_path / "next", changes))
    for part in named:
        assert part in str(refused.value)
    assert not (tmp_path / "next").exists()


def test_weights_of_another_vocabulary_are_rejected(learned: run.Run, tiny: Any, tmp_path: Path) -> None:
    """Of the same size, too: equal shapes say nothing."""
    for alphabet, says in (("stuvwxyz ,\n", "11 tokens there, 11 here"), ("abcdefgh ,\nz", "11 tokens there, 12 here")):
        (tmp_path / "other.txt").write_text(alphabet * 40)
        with pytest.raises(CheckpointError, match=f"another vocabulary: {says}"):
            run.train(start_from(learned, tiny, tmp_path / "next", {"data.path": str(tmp_path / "other.txt")}))
    assert not (tmp_path / "next").exists()


def test_error_of_another_vocabulary_names_the_flag_that_trains_on_another_text(
    learned: run.Run, tiny: Any, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("abcdef\n" * 40)
    changes = {"data.path": str(tmp_path / "other.txt")}
    with pytest.raises(CheckpointError, match=r"--data\.tokenizer=") as error:
        run.train(start_from(learned, tiny, tmp_path / "next", changes))
    [flag] = shlex.split(str(error.value).rpartition("its tokenizer: ")[2])
    changes["data.tokenizer"] = flag.partition("=")[2]
    trained = run.train(start_from(learned, tiny, tmp_path / "next", changes))
    assert trained.tokenizer.to_json() == learned.tokenizer.to_json()


def test_rejected_weights_are_not_half_loaded(learned: run.Run) -> None:
    """The last tensor has another shape, so all before it would fit."""
    weights = {name: tensor + 1 for name, tensor in learned.model.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in learned.model.state_dict().items()}
    last = list(weights)[-1]
    for broken, says in (
        ({**weights, last: weights[last][:-1]}, rf"{last} is \(10, 8\) there and \(11, 8\) here"),
        ({name: weights[name] for name in weights if name != last}, f"{last} is missing there"),
        ({**weights, "extra": weights[last]}, "extra is unknown here"),
    ):
        with pytest.raises(CheckpointError, match=says):
            checkpoint.load_weights(learned.model, broken, Path("there"))
        assert all(torch.equal(tensor, before[name]) for name, tensor in learned.model.state_dict().items())
    checkpoint.load_weights(learned.model, weights, Path("there"))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in learned.model.state_dict().items())


def fresh_like(trained: run.Run, block_size: int) -> GPT:
    torch.manual_seed(8)
    return GPT(replace(trained.model.config, block_size=block_size))


@pytest.mark.parametrize("block_size", [5, 8, 13])
def test_other_length_keeps_old_rows_and_reports_new_ones(
    trained: run.Run, block_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    model, untouched = fresh_like(trained, block_size), fresh_like(trained, block_size)
    compatibility.start_from(model, checkpoint.newest(trained.folder), trained.tokenizer)
    rows = [] if trained.config.model.rope else ["position.table.weight"]
    theirs, fresh = trained.model.state_dict(), untouched.state_dict()
    for name, tensor in model.state_dict().items():
        if name not in rows:
            assert torch.equal(tensor, theirs[name]), name
        else:
            assert torch.equal(tensor[:8], theirs[name][:block_size])
            assert torch.equal(tensor[8:], fresh[name][8:])
    assert set(rows) <= theirs.keys()
    grown = ["rows 0 to 7 copied, rows 8 to 12 new and untrained"]
    assert [line.partition(": ")[2] for line in caplog.messages[:-1]] == (grown if rows and block_size > 8 else [])
    assert caplog.messages[-1].endswith("optimizer fresh")


def test_shorter_prompt_is_read_the_same_by_the_longer_model(trained: run.Run) -> None:
    model = fresh_like(trained, 13).eval()
    compatibility.start_from(model, checkpoint.newest(trained.folder), trained.tokenizer)
    ids = torch.arange(8)[None] % trained.tokenizer.vocab_size
    with torch.no_grad():
        assert torch.equal(model(ids).logits, trained.model.eval()(ids).logits)


def test_longer_block_is_reported_and_has_a_fresh_optimizer(
    trained: run.Run, tiny: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"model.rope": trained.config.model.rope, "data.block_size": 13, "model.attn_pdrop": 0.5}
    done = run.train(start_from(trained, tiny, tmp_path / "next", changes))
    saved = checkpoint.newest(done.folder)
    assert bool([line for line in caplog.messages if "rows 8 to 12 new" in line]) == (not trained.config.model.rope)
    assert {value.item() for name, value in saved.optimizer.items() if name.endswith("/step")} == {1.0}
    assert done.progress.step == 1


def test_weights_are_not_taken_again_at_a_resume(learned: run.Run, tiny: Any, trace: Any, tmp_path: Path) -> None:
    longer = {"trainer.schedule": "constant", "trainer.max_iters": 4}
    run.train(start_from(learned, tiny, tmp_path / "whole", longer))
    run.train(start_from(learned, tiny, tmp_path / "parts", {**longer, "trainer.max_iters": 2}))
    run.train(start_from(learned, tiny, tmp_path / "parts", {**longer, "trainer.resume": True}))
    assert trace(tmp_path / "parts") == trace(tmp_path / "whole")


def test_second_stage_killed_before_its_first_save_begins_again_from_its_weights(
    learned: run.Run, tiny: Any, trace: Any, tmp_path: Path
) -> None:
    run.train(start_from(learned, tiny, tmp_path / "whole", {"trainer.max_iters": 2}))
    config = start_from(learned, tiny, tmp_path / "parts", {"trainer.max_iters": 2, "trainer.resume": True})
    (tmp_path / "parts").mkdir()
    run_dir.write_config(tmp_path / "parts", config)
    run.train(config)
    assert trace(tmp_path / "parts") == trace(tmp_path / "whole")


def test_resumed_run_stays_the_same_model(learned: run.Run, tiny: Any) -> None:
    forced = {"trainer.max_iters": 3, "trainer.resume": True, "trainer.resume_changed": True}
    with pytest.raises(CheckpointError, match=r"model\.n_query_head is 2 there and 4 here"):
        run.train(tiny(learned.folder, {**forced, "model.n_query_head": 4}))
    with pytest.raises(CheckpointError, match=r"position\.table\.weight is \(8, 8\) there and \(13, 8\) here"):
        run.train(tiny(learned.folder, {**forced, "data.block_size": 13}))


def test_other_tokenizer_of_equal_size_is_rejected(learned: run.Run) -> None:
    saved = checkpoint.newest(learned.folder)
    compatibility.require_same_vocabulary(saved, learned.tokenizer)
    with pytest.raises(CheckpointError, match="another vocabulary"):
        compatibility.require_same_vocabulary(saved, CharTokenizer(reversed(learned.tokenizer.vocabulary)))  # type: ignore[attr-defined]


def test_checkpoint_from_before_a_setting_existed_is_loaded(learned: run.Run) -> None:
    saved = checkpoint.newest(learned.folder)
    for name in ("head_dim", "rope_base", "norm_eps", "mlp_width"):
        del saved.state["model"][name]
    compatibility.require_same_model(learned.model.config, saved)
    with pytest.raises(CheckpointError, match=r"model\.mlp_width is None there and 9 here"):
        compatibility.require_same_model(replace(learned.model.config, mlp_width=9), saved)
