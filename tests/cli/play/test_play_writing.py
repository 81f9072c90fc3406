"""What the page shows of a generated text is what the library generates, and what the model's distribution is."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mingpt.cli.play.worker import MOST_JOBS
from mingpt.inference.generate import Sampling, probabilities
from mingpt.runs import run

SETTINGS: dict[str, Any] = {"temperature": 0.7, "top_k": 9, "top_p": 0.95, "min_p": 0.01, "seed": 5}
FULL = pytest.mark.full
WRITE = ["gpt", pytest.param("lstm", marks=FULL), pytest.param("more/ngram", marks=FULL)]


def text_of(events: list[Any]) -> str:
    return "".join(data["text"] for name, data in events if name != "prompt")


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("prompt", ["", "ROMEO:\nA"])
def test_streamed_text_is_what_generate_returns(client: Any, root: Path, name: str, prompt: str) -> None:
    events = client.post("write", name=name, prompt=prompt, settings={**SETTINGS, "max_new_tokens": 40}).events
    assert [name for name, _ in events] == ["prompt", *["token"] * 40, "done"]
    expected = run.load(root / name).generate(prompt, 40, **SETTINGS)
    assert prompt + text_of(events) == expected
    assert "".join(events[0][1]["texts"]) == (prompt or "\n")


@pytest.mark.parametrize("name", WRITE)
def test_alternatives_are_the_models_distribution(client: Any, root: Path, name: str) -> None:
    loaded, prompt = run.load(root / name), "ROMEO"
    ids = loaded.tokenizer.encode(prompt).tolist()
    for kind, data in client.post("write", name=name, prompt=prompt, settings={**SETTINGS, "max_new_tokens": 3}).events:
        if kind == "token":
            with torch.inference_mode():
                logits = loaded.model(torch.tensor([ids])).logits[:, -1]
            own, used = logits.double().softmax(-1)[0], probabilities(logits, Sampling(**SETTINGS))[0]
            expected = own.topk(10)
            assert [each["id"] for each in data["alternatives"]] == expected.indices.tolist()
            assert [each["p"] for each in data["alternatives"]] == pytest.approx(expected.values.tolist(), rel=1e-4)
            assert [each["p_used"] for each in data["alternatives"]] == pytest.approx(
                used[expected.indices].tolist(), rel=1e-4
            )
            assert data["p"] == pytest.approx(float(own[data["id"]]), rel=1e-4)
            assert all(each["text"] == loaded.tokenizer.decode([each["id"]]) for each in data["alternatives"])
            ids.append(data["id"])
    assert len(ids) == len(prompt) + 3


def test_branch_keeps_its_prefix(client: Any, root: Path) -> None:
    events = client.post("write", name="gpt", prompt="ROM", settings={"max_new_tokens": 4}).events
    other = events[2][1]["alternatives"][3]["id"]
    prefix = [*events[0][1]["ids"], events[1][1]["id"], other]
    branch = client.post("write", name="gpt", prefix_ids=prefix, settings={"max_new_tokens": 6, "seed": 2}).events
    assert branch[0][1]["ids"] == prefix
    text = run.load(root / "gpt").tokenizer.decode(prefix)
    assert text + text_of(branch) == run.load(root / "gpt").generate(text, 6, seed=2)


@pytest.mark.full
def test_two_runs_draw_from_the_same_numbers(client: Any, root: Path) -> None:
    """Copies of a model write one text; a token is where uniform draws put it, whatever model gives the chances."""
    settings = {"temperature": 1e6, "seed": 8, "max_new_tokens": 12}  # every token is as likely
    texts = [text_of(client.post("write", name=name, prompt="A", settings=settings).events) for name in ("gpt", "lstm")]
    assert texts[0] == texts[1]


def test_bars_are_the_distribution_of_the_next_token(client: Any, root: Path) -> None:
    loaded = run.load(root / "gpt")
    found = client.post("next", name="gpt", prompt="JULI", settings=SETTINGS).json
    ids = loaded.tokenizer.encode("JULI").tolist()
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids])).logits[:, -1]
    own, used = logits.double().softmax(-1)[0], probabilities(logits, Sampling(**SETTINGS))[0]
    assert [each["id"] for each in found["bars"]] == own.topk(min(30, len(own))).indices.tolist()
    assert [each["p_used"] for each in found["bars"]] == pytest.approx(
        [float(used[each["id"]]) for each in found["bars"]], rel=1e-4
    )
    assert found["entropy"] == pytest.approx(-float((own * own.log()).sum()), rel=1e-4)
    assert found["kept"] == int((used > 0).sum())
    assert (found["ids"], "".join(found["texts"])) == (ids, "JULI")
    assert client.post("next", name="gpt", ids=ids, settings=SETTINGS).json == found


@pytest.mark.full
def test_sliders_change_what_is_used_alone(client: Any) -> None:
    first, second = (
        client.post("next", name="lstm", prompt="A", settings={"temperature": t}).json["bars"] for t in (1.0, 0.1)
    )
    assert [each["p"] for each in first] == [each["p"] for each in second]
    assert first[0]["p_used"] < second[0]["p_used"]


@pytest.mark.full
@pytest.mark.parametrize("name", ["masked", "sees"])
def test_model_that_does_not_write_says_why(client: Any, name: str) -> None:
    facts = client.get("run", name=name).json
    assert facts["autoregressive"] is False
    assert facts["why_not"].startswith("BidirectionalRNN isn't autoregressive")
    assert client.post("write", name=name, prompt="A").error == facts["why_not"]


@pytest.mark.full
def test_infilled_text_is_that_of_fill(client: Any, root: Path) -> None:
    found = client.post("fill", name="masked", text="RO_E_").json
    assert found["text"] == run.load(root / "masked").fill("RO_E_")
    assert "".join(piece["text"] for piece in found["pieces"]) == found["text"]
    assert [piece["filled"] for piece in found["pieces"]] == [False, False, True, False, True]
    assert [piece["p"] is None for piece in found["pieces"]] == [True, True, False, True, False]
    assert "has no masked token" in client.post("fill", name="masked", text="ROME").error
    assert "was not trained on masked tokens" in client.post("fill", name="gpt", text="RO_E").error


@pytest.mark.full
def test_long_text_does_not_block_another_tab(client: Any) -> None:
    with client.stream("POST", "write", {"name": "gpt", "settings": {"max_new_tokens": 5000}}) as long:
        assert next(long)[0] == "prompt"
        assert len(client.post("write", name="lstm", settings={"max_new_tokens": 5}).events) == 7
        assert next(long)[0] == "token"


def test_closing_a_stream_ends_its_work(client: Any) -> None:
    with client.stream("POST", "write", {"name": "gpt", "settings": {"max_new_tokens": 5000}}) as long:
        next(long)
    until_idle(client)


@pytest.mark.full
def test_clients_that_go_away_at_once_leave_no_work_behind(client: Any) -> None:
    body = json.dumps({"name": "gpt", "settings": {"max_new_tokens": 5000}}).encode()
    for _ in range(MOST_JOBS + 6):
        with contextlib.closing(client.connection()) as connection:
            connection.request("POST", "/api/write", body, {"X-Token": client.token})
    until = time.monotonic() + 20
    while client.post("write", name="gpt", settings={"max_new_tokens": 1}).status != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    until_idle(client)


def until_idle(client: Any) -> None:
    """Wait until no request is left in the worker."""
    until = time.monotonic() + 20
    while client.play.worker.busy:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_facts_name_what_the_page_needs(client: Any, root: Path) -> None:
    facts = client.get("run", name="gpt").json
    loaded = run.load(root / "gpt")
    assert facts["block_size"] == loaded.model.config.block_size
    assert facts["prompt"] in loaded.prompts()
    assert (facts["autoregressive"], facts["why_not"], facts["infills"]) == (True, None, False)
    assert client.get("state").json["families"] == ["gpt", "rnn", "birnn", "ngram"]


@pytest.mark.full
def test_list_of_runs_has_their_state(client: Any, families: Any) -> None:
    found = {each["name"]: each for each in client.get("runs").json}
    assert {*families} == found.keys()
    assert {each["status"] for each in found.values()} == {"finished"}
    assert found["gpt"]["step"] == found["gpt"]["max_iters"] == 3
    assert found["gpt"]["val_loss"] > 0
    assert found["gpt"]["parameters"] > 0
    assert found["lstm"]["settings"]["model.type"] == "rnn"
    assert (found["masked"]["val_loss"], found["gpt"]["pseudo"]) == (None, None)
    assert found["masked"]["pseudo"] > 0
