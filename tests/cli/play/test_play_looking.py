"""What the page shows of a text is what the library computes: losses, attention, dependency map, hidden state."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mingpt.runs import run

TEXT = "JULIET:"  # of 7 tokens; a block has 8
FULL = pytest.mark.full
OTHERS = [pytest.param(name, marks=FULL) for name in ("lstm", "more/ngram", "masked", "sees")]


def ids_of(loaded: Any) -> torch.Tensor:
    return torch.from_numpy(loaded.tokenizer.encode(TEXT).astype("int64"))[None]


@pytest.mark.parametrize("name", ["gpt", *OTHERS[:2]])
def test_losses_are_those_of_the_model(client: Any, root: Path, name: str) -> None:
    found, loaded = client.post("look", name=name, text=TEXT).json, run.load(root / name)
    ids = ids_of(loaded)
    with torch.inference_mode():
        logp = loaded.model(ids).logits.double().log_softmax(-1)[0]
    expected = [-float(logp[at, token]) for at, token in enumerate(ids[0, 1:])]
    assert found["losses"][0] is None
    assert found["losses"][1:] == pytest.approx(expected, rel=1e-4)
    assert found["ppl"] == pytest.approx(np.exp(np.mean(expected)), rel=1e-4)
    assert (found["ids"], "".join(found["texts"])) == (ids[0].tolist(), TEXT)


@pytest.mark.full
def test_masked_model_has_pseudo_losses_of_each_token_while_it_is_masked(client: Any, root: Path) -> None:
    found, loaded = client.post("look", name="masked", text=TEXT).json, run.load(root / "masked")
    ids = ids_of(loaded)
    for at, loss in enumerate(found["losses"]):
        masked = torch.arange(len(TEXT))[None] == at
        with torch.inference_mode():
            logp = loaded.model.masked_logits(ids, masked).double().log_softmax(-1)
        assert loss == pytest.approx(-float(logp[0, at, ids[0, at]]), rel=1e-4)
    assert (found["pseudo"], found["ppl"]) == (True, None)


@pytest.mark.full
def test_model_that_sees_what_it_predicts_has_no_loss(client: Any) -> None:
    found = client.post("look", name="sees", text=TEXT).json
    assert (found["losses"], found["ppl"]) == ([None] * 7, None)


def test_attention_is_that_of_the_run_and_its_rows_sum_to_1(client: Any, root: Path) -> None:
    facts, expected = client.get("run", name="gpt").json["attention"], run.load(root / "gpt").attention(TEXT)
    assert facts == {"layers": 2, "heads": 4, "kv_heads": 2, "windows": [5, 5]}
    for layer in range(2):
        for head in range(4):
            found = client.post("attention", name="gpt", text=TEXT, layer=layer, head=head).square
            np.testing.assert_allclose(found, expected[layer][0, head].numpy(), rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
            assert not np.tril(found, -5).any(), "outside the window"


@pytest.mark.parametrize("name", ["gpt", *OTHERS])
def test_dependency_map_is_that_of_the_causality_command(client: Any, root: Path, name: str) -> None:
    found = client.post("dependency", name=name, text=TEXT).square
    np.testing.assert_allclose(found, run.load(root / name).dependency_map(TEXT).numpy(), rtol=1e-5, atol=1e-6)
    assert bool(np.triu(found, 1).any()) == (name in ("masked", "sees"))


@pytest.mark.full
def test_hidden_state_is_that_after_each_token(client: Any, root: Path) -> None:
    assert client.get("run", name="lstm").json["hidden"] == {"layers": 2, "units": 16}
    loaded = run.load(root / "lstm")
    for layer in range(2):
        found = client.post("hidden", name="lstm", text=TEXT, layer=layer).square
        assert found.shape == (7, 16)
        for length in (1, 4, 7):
            state = loaded.model.new_state(1)
            with torch.inference_mode():
                loaded.model(ids_of(loaded)[:, :length], state=state)
            np.testing.assert_allclose(found[length - 1], state.layers[layer][0][0].numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("look", {"name": "gpt", "text": ""}, "must be 1 to 8 tokens, not 0"),
        ("look", {"name": "gpt", "text": "ROMEO:\nAy"}, "must be 1 to 8 tokens, not 9"),
        ("look", {"name": "gpt", "text": "\u202e"}, "unknown to this vocabulary"),
        ("attention", {"name": "lstm", "text": "R", "layer": 0, "head": 0}, "has no attention"),
        ("attention", {"name": "gpt", "text": "R", "layer": 2, "head": 0}, "layer=2: must be below 2"),
        ("attention", {"name": "gpt", "text": "R", "layer": 1, "head": 4}, "head=4: must be below 4"),
        ("attention", {"name": "gpt", "text": "R", "layer": -1, "head": 0}, "layer must be"),
        ("dependency", {"name": "gpt", "text": "R"}, "must be at least 2 tokens"),
        ("hidden", {"name": "gpt", "text": "R", "layer": 0}, "has no hidden state"),
        ("hidden", {"name": "lstm", "text": "R", "layer": 2}, "layer=2: must be below 2"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_can_not_be_shown_is_rejected_in_one_line(client: Any, path: str, body: Any, said: str) -> None:
    assert said in client.post(path, **body).error
