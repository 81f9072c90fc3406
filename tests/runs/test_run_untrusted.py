"""What a stranger wrote, piece by piece: any bytes are parsed or refused, and no link leads a picture or record out."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from mingpt.cli import main
from mingpt.core.atomic_io import save_picture
from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.core.run_files.records import read_run
from mingpt.core.safe_parsing import HEADER_BYTES, parse_json, parse_yaml, read_at_most, require_modest_header
from mingpt.data.shakespeare import read_text
from mingpt.runs import checkpoint, run, run_dir

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FURTHER = {"trainer.schedule": "constant", "trainer.save_every": 1, "trainer.resume": True}
NAMES = ("step", "tokens", "seconds", "wall_seconds", "model", "val_loss", "type", "vocabulary", "text", "text_sha256")
OBJECTS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> run.Run:
    folder = tmp_path_factory.mktemp("trained") / "run"
    return run.train(tiny(folder, {"trainer.max_iters": 3, "trainer.save_every": 2, "trainer.schedule": "constant"}))


@pytest.fixture
def copy(trained: run.Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.folder, tmp_path / "run"))


# ---- any bytes


@settings(deadline=None, max_examples=60)
@given(content=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")))
@example(content=b"2020-99-99")
@example(content=b"!!timestamp x")
@example(content=b"? [a]\n: b")
@example(content=b"1e" + b"9" * 5000)
@example(content=b"9" * 5000)
@example(content=b"!!binary x")
@example(content=b"[" * 5000)
@example(content=b"!!int x")
@example(content=b"!!float ''")
@example(content=b"!!int ''")
@example(content=b"!!bool x")
@pytest.mark.full
def test_any_bytes_are_parsed_or_rejected(content: bytes) -> None:
    for parse in (parse_yaml, parse_json):
        said = ""
        try:
            parse(content)
        except ValueError as refused:
            said = str(refused)
        assert "\n" not in said


@given(value=JSON)
@settings(deadline=None, max_examples=50)
def test_plain_values_are_read_as_they_are(value: Any) -> None:
    assert repr(parse_json(json.dumps(value))) == repr(value)
    assert repr(parse_yaml(yaml.dump(json.loads(json.dumps(value)), Dumper=Plain, sort_keys=False).encode())) == repr(
        value
    )


class Plain(yaml.SafeDumper):
    """Writes no aliases, as the project's own files have none."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def test_file_without_an_end_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="no ordinary file"):
            read_at_most(9, path)
        with pytest.raises(DataError, match="no ordinary file"):
            read_text(str(path))
    (tmp_path / "long").write_bytes(b"x" * 10)
    assert read_at_most(10, tmp_path / "long") == b"x" * 10
    with pytest.raises(ValueError, match="10 bytes; at most 9 are read"):
        read_at_most(9, tmp_path / "long")
    if Path("/proc/self/status").exists():  # an ordinary file of no size, and of some content
        with pytest.raises(ValueError, match="more than the 0 bytes"):
            read_at_most(9, Path("/proc/self/status"))


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
def test_lines_without_an_end_are_rejected(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(CheckpointError, match=f"{name}: can't be read: no ordinary file"):
        read_run(copy)
    (copy / name).unlink()
    (copy / name).symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=f"{name}: can't be read: no ordinary file"):
        read_run(copy)


@pytest.mark.parametrize("damage", ["pipe", "endless", "list", "deep"])
def test_launch_id_of_an_untrusted_run_is_rejected_without_waiting(copy: Path, damage: str) -> None:
    path = copy / "environment.json"
    path.write_text('{"launch": "7"}')
    assert run_dir._begun_by("7", str(copy)) == copy
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    elif damage == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_text({"list": "[]", "deep": "[" * 100_000}[damage])
    assert run_dir._begun_by("7", str(copy)) is None


def test_header_of_a_huge_length_is_not_parsed() -> None:
    require_modest_header(HEADER_BYTES.to_bytes(8, "little"))
    require_modest_header(b"")
    with pytest.raises(ValueError, match="at most 4,194,304 are read"):
        require_modest_header((HEADER_BYTES + 1).to_bytes(8, "little"))


# ---- files of a run


@settings(deadline=None, max_examples=30)
@given(content=OBJECTS.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
@example(content=b'{"1-gram": []}')  # of n-gram losses
@example(content=b'{"1-gram": {"a": 1}}')
@example(content=b'{"step": 1, "model": 1, "text": [], "prompt": 2}')
@pytest.mark.full
def test_untrusted_records_end_every_command_in_its_code(trained: run.Run, content: bytes) -> None:
    """Each record of a run in turn."""
    for path in (trained.folder / name for name in ("environment.json", "metrics.jsonl", "baselines.json")):
        before = path.read_bytes()
        try:
            path.write_bytes(content)
            for words in (["eval", f"--run={trained.folder}"], ["compare", str(trained.folder), str(trained.folder)]):
                assert main.main(words) in (0, 2, 3, 4)
        finally:
            path.write_bytes(before)


PROMPTS = st.text(max_size=30) | st.text("abcdefgh ,\n", max_size=30)


@settings(deadline=None, max_examples=60)
@given(prompt=PROMPTS)
@example(prompt="Привет 🤗")
@example(prompt="\ud800")
@example(prompt="")
@example(prompt="a" * 80)
def test_any_prompt_is_taken_or_rejected_in_one_line(trained: run.Run, prompt: str) -> None:
    unknown = set(prompt) - set(trained.tokenizer.vocabulary)  # type: ignore[attr-defined]
    if unknown:
        with pytest.raises(UsageError) as refused:
            trained.generate(prompt, 3, seed=1)
        assert all(f"U+{ord(character):04X}" in str(refused.value) for character in sorted(unknown)[:10])
    else:
        written = trained.generate(prompt, 3, seed=1)
        assert written.startswith(prompt)
        assert len(written) == len(prompt) + 3


@pytest.mark.full
def test_lost_record_leaves_a_finished_run_loadable(copy: Path, tiny: Any) -> None:
    for content in (b"", b'{"step": 9, "train_loss": 1}\n'):
        (copy / "metrics.jsonl").write_bytes(content)
        assert main.main([f"--system.work_dir={copy}", "--trainer.resume=True"]) == 4


# ---- links


def test_picture_is_not_drawn_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "loss.png").symlink_to(tmp_path / "precious")
    assert save_picture(Figure(), tmp_path / "loss.png") == tmp_path / "loss.png"
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "loss.png").is_symlink()
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["attention.png", "causality.png"])
@pytest.mark.thin(1)
def test_no_command_draws_through_a_link_in_a_run_folder(copy: Path, name: str) -> None:
    precious = copy.parent / "precious"
    precious.write_text("precious")
    (copy / name).symlink_to(precious)
    assert main.main([name.removesuffix(".png"), f"--run={copy}", "--text=abcd"]) == 0
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl", ".lock"])
def test_no_file_is_appended_to_through_a_link(copy: Path, tiny: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to(tmp_path / "precious")
    with pytest.raises(CheckpointError, match="a link; only folders in a run folder may be links"):
        run.train(tiny(copy, {**FURTHER, "trainer.max_iters": 5}))
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("link", ["checkpoints", "."])
@pytest.mark.thin(1)
def test_run_goes_on_behind_links_to_folders(tmp_path: Path, tiny: Any, trace: Any, link: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run" / link).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / link).symlink_to(tmp_path / "disk")
    for steps, resumed in ((2, False), (4, True)):
        run.train(tiny(tmp_path / "run", {**FURTHER, "trainer.max_iters": steps, "trainer.resume": resumed}))
    assert run.load(tmp_path / "run").progress.step == 4
    assert list((tmp_path / "disk").rglob("step_000004"))
    run.train(tiny(tmp_path / "one", {**FURTHER, "trainer.max_iters": 4, "trainer.resume": False}))
    assert trace(tmp_path / "run") == trace(tmp_path / "one")


@pytest.mark.parametrize("step", [1, 9])
def test_old_or_damaged_checkpoint_behind_a_link_is_dropped_by_its_link(
    copy: Path, tiny: Any, tmp_path: Path, step: int
) -> None:
    """Of a step before (to be dropped as old) and after (to be dropped as damaged) those that are there."""
    precious = Path(shutil.copytree(copy / "checkpoints" / "step_000003", tmp_path / "precious"))
    link = copy / "checkpoints" / f"step_{step:06d}"
    link.symlink_to(precious)
    if step == 9:
        (precious / checkpoint.MANIFEST).write_text("{}")
    (copy / "checkpoints" / ".step_000009.tmp").symlink_to(precious)
    assert run.train(tiny(copy, {**FURTHER, "trainer.max_iters": 5})).progress.step == 5
    assert not link.is_symlink()
    assert sorted(path.name for path in precious.iterdir()) == sorted([*checkpoint.FILES, checkpoint.MANIFEST])


# ---- sizes


def test_settings_of_another_size_are_rejected_before_they_cost_memory(copy: Path, monkeypatch: Any) -> None:
    """A config.yaml that asks for a huge model beside the checkpoint of a tiny one."""
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("n_embd: 8", f"n_embd: {2**40}"))
    monkeypatch.setattr(run, "build", lambda settings: pytest.fail("built"))
    for words in (["sample", f"--run={copy}"], [f"--system.work_dir={copy}", "--trainer.resume=True"]):
        assert main.main(words) == 4
