"""Recurrent models: what a prediction has read, what a state carries, what each read-out and objective can learn."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, addmm_flop, baddbmm_flop

from mingpt.core.errors import UsageError
from mingpt.inference.generate import Sampling, generate
from mingpt.model import build
from mingpt.models.base import LanguageModel, ModelConfig
from mingpt.models.recurrent import layers
from mingpt.models.recurrent.cells import CELLS
from mingpt.models.rnn import RNN, BidirectionalRNN

SIZES: dict[str, Any] = {"n_layer": 2, "n_embd": 9, "block_size": 7, "vocab_size": 11}
READS = {"rnn": {"type": "rnn"}, "prefix": {"type": "birnn", "reading": "prefix"}}
FULL = {"type": "birnn", "reading": "full"}
MASKED = {"type": "birnn", "objective": "masked"}
every_cell = pytest.mark.parametrize("cell", CELLS)
autoregressive = pytest.mark.parametrize("kind", READS.values(), ids=READS)

# Products that the counter doesn't know.
IN_PLACE = {torch.ops.aten.addmm_: addmm_flop.__wrapped__, torch.ops.aten.baddbmm_: baddbmm_flop.__wrapped__}


def model_of(**settings: Any) -> Any:
    """A model in float64, as it starts."""
    torch.manual_seed(5)
    return build(ModelConfig(**SIZES | settings)).double().eval()


def random_ids(batch: int = 3, length: int = 7) -> Tensor:
    return torch.randint(11, (batch, length), generator=torch.Generator().manual_seed(length))


def sees_ahead(model: LanguageModel) -> bool:
    """Whether another token j alters any bit of a logit before j; it must alter those from j on."""
    ids = random_ids()
    logits, ahead = model(ids).logits, False
    for j in range(ids.shape[1]):
        other = ids.clone()
        other[:, j] = (other[:, j] + 1) % 11
        again = model(other).logits
        ahead |= not torch.equal(again[:, :j], logits[:, :j])
        assert (again[:, j:] != logits[:, j:]).any(-1).all(), "a token has no effect on what follows it"
    return ahead


@every_cell
@autoregressive
@torch.no_grad()
def test_prediction_sees_no_later_token(kind: dict[str, Any], cell: str) -> None:
    model = model_of(**kind, cell=cell)
    assert model.autoregressive
    assert not sees_ahead(model)


@every_cell
@torch.no_grad()
def test_full_reading_is_found_to_see_later_tokens(cell: str) -> None:
    model = model_of(**FULL, cell=cell)
    assert not model.autoregressive
    assert sees_ahead(model)
    with pytest.raises(UsageError, match="isn't autoregressive, so it can't generate text"):
        generate(model, random_ids(), 1, Sampling())
    with pytest.raises(UsageError, match=r"model\.reading=full: needs the complete text"):
        model.new_state(1)


@every_cell
@torch.no_grad()
def test_prefixes_are_what_the_full_reading_ends_in(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "PREFIXES_AT_ONCE", 3)  # two whole groups and a short one
    prefix, full, ids = model_of(**READS["prefix"], cell=cell), model_of(**FULL, cell=cell), random_ids()
    full.load_state_dict(prefix.state_dict())
    ends = torch.stack([full(ids[:, : t + 1]).logits[:, -1] for t in range(7)], 1)
    torch.testing.assert_close(prefix(ids).logits, ends, rtol=0, atol=1e-12)


@every_cell
@torch.no_grad()
def test_backward_cell_reads_backwards(cell: str) -> None:
    model, x = model_of(**FULL, cell=cell).layers.layers[0], torch.randn(2, 5, 9, dtype=torch.float64)
    turned = torch.arange(4, -1, -1).expand(2, -1)
    there, back = model.onwards(x)[0], model.backwards(x.flip(1))[0].flip(1)
    expected = model.join(torch.cat((there, back), -1) - model.centre)
    torch.testing.assert_close(model(x, turned), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_layer", "differs"), [(1, False), (2, True)])
@torch.no_grad()
def test_prefix_of_a_single_layer_takes_one_step_of_the_backward_cell(n_layer: int, differs: bool) -> None:
    model, ids = model_of(**READS["prefix"], cell="gru", n_layer=n_layer), random_ids()
    x = model.embedding(ids)
    for layer in model.layers.layers:  # as if the cell from the right began at each position
        one_step = torch.cat([layer.backwards(x[:, t : t + 1])[0] for t in range(7)], 1)
        x = layer.join(torch.cat((layer.onwards(x)[0], one_step), -1) - layer.centre)
    assert torch.allclose(model(ids).logits, model.head(x), rtol=0, atol=1e-12) is not differs


@every_cell
def test_state_is_small_and_keeps_neither_graph_nor_block(cell: str) -> None:
    model = model_of(type="rnn", cell=cell)
    state = model.new_state(3)
    before = [[each.shape for each in hidden] for hidden in state.layers]
    for _ in range(3):  # past block_size
        model(random_ids(), state=state)
    assert model.unbounded
    assert state.length == 21
    assert [[each.shape for each in hidden] for hidden in state.layers] == before
    for each in (each for hidden in state.layers for each in hidden):
        assert not each.requires_grad
        assert each.untyped_storage().nbytes() == each.numel() * each.element_size()


@torch.no_grad()
def test_recurrent_text_has_no_end_and_prefixes_are_cropped() -> None:
    rnn, birnn, ids = model_of(type="rnn"), model_of(**READS["prefix"]), random_ids(1, 20)
    assert rnn(ids).logits.shape == (1, 20, 11)
    with pytest.raises(ValueError, match="8 tokens: this model sees block_size=7"):
        birnn(ids[:, :8])
    state = birnn.new_state(1)
    birnn(ids[:, :5], state=state)
    with pytest.raises(ValueError, match="8 tokens: this model sees block_size=7"):
        birnn(ids[:, :3], state=state)
    assert state.length == 5


@every_cell
@pytest.mark.parametrize("kind", [*READS.values(), FULL, MASKED], ids=[*READS, "full", "masked"])
def test_first_loss_is_that_of_a_guess(kind: dict[str, Any], cell: str) -> None:
    model = model_of(**kind, cell=cell, vocab_size=65, n_embd=64).train()
    ids = torch.randint(65, (8, 8), generator=torch.Generator().manual_seed(0))
    assert model(ids[:, :-1], ids[:, 1:]).loss.item() == pytest.approx(math.log(65), abs=0.15)


def test_literal_loss_stays_above_its_floor() -> None:
    floor = math.log(math.e + 65 - 1) - 1
    assert floor == pytest.approx(3.2, abs=0.005)
    model = model_of(type="rnn", readout="literal", vocab_size=65, n_layer=1)
    ids = torch.full((2, 5), 3)
    with torch.no_grad():
        model.layers.cells[0].output.weight.zero_()
        model.layers.cells[0].output.bias.copy_(torch.where(torch.arange(65) == 3, 9.0, -9.0))  # as sure as can be
    assert model(ids, ids).loss.item() == pytest.approx(floor, abs=1e-12)
    assert model(random_ids(), random_ids()).loss.item() >= floor
    assert 0 <= model(ids).logits.min() <= model(ids).logits.max() <= 1


@pytest.mark.parametrize("cell", [name for name in CELLS if CELLS[name].reads_out])
def test_literal_logits_are_the_last_layers_features(cell: str) -> None:
    model, ids = model_of(type="rnn", cell=cell, readout="literal"), random_ids()
    last = model.layers.cells[1]
    h, _ = model.layers.cells[0](model.embedding(ids))
    torch.testing.assert_close(model(ids).logits, last(h)[0], rtol=0, atol=0)
    assert last.output.weight.shape == (11, 9)


def scored(model: Any, ids: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The loss, and where predictions were scored: where its derivative by the logits is not 0."""
    torch.manual_seed(seed)
    output = model.train()(ids, ids.roll(-1, 1))
    return output.loss, torch.autograd.grad(output.loss, output.logits, retain_graph=True)[0].abs().amax(-1) > 0


def test_masked_loss_counts_hidden_tokens_alone_and_follows_the_seed() -> None:
    model = model_of(**MASKED, block_size=200)
    ids = random_ids(4, 200)
    loss, gaps = scored(model, ids, 0)
    assert gaps.float().mean().item() == pytest.approx(0.15, abs=0.04)
    logits = model.masked_logits(ids, gaps)
    torch.testing.assert_close(loss, F.cross_entropy(logits[gaps], ids[gaps]), rtol=0, atol=1e-12)
    again, other = scored(model, ids, 0), scored(model, ids, 1)
    assert torch.equal(again[0], loss)
    assert torch.equal(again[1], gaps)
    assert other[0] != loss
    assert not torch.equal(other[1], gaps)


def test_something_is_hidden_in_a_short_text() -> None:
    model, ids = model_of(**MASKED), random_ids(1, 1)
    for seed in range(30):
        loss, gaps = scored(model, ids, seed)
        assert gaps.all()
        assert loss.isfinite()


@torch.no_grad()
def test_hidden_token_is_not_seen() -> None:
    model, ids = model_of(**MASKED), random_ids()
    assert model.infills
    gaps = torch.zeros(3, 7, dtype=torch.bool)
    gaps[:, 2] = True
    other = ids.clone()
    other[:, 2] = (ids[:, 2] + 1) % 11
    assert torch.equal(model.masked_logits(ids, gaps), model.masked_logits(other, gaps))
    assert not torch.equal(model.masked_logits(ids, gaps), model.masked_logits(ids, ~gaps))
    assert not torch.equal(model(ids).logits, model(other).logits)
    assert model.masked_logits(ids, gaps).shape == (3, 7, 11)


def test_masked_model_has_no_loss_of_a_complete_text() -> None:
    model, ids = model_of(**MASKED), random_ids()
    with pytest.raises(UsageError, match=r"model\.objective=masked: has a loss of masked tokens only"):
        model(ids, ids)
    assert model(ids).loss is None


@pytest.mark.parametrize("kind", [*READS.values(), FULL], ids=[*READS, "full"])
def test_model_that_was_not_masked_does_not_infill(kind: dict[str, Any]) -> None:
    model = model_of(**kind)
    assert not model.infills
    with pytest.raises(UsageError, match="was not trained on masked tokens"):
        model.masked_logits(random_ids(), random_ids() == 0)


@pytest.mark.parametrize("cell", ["elman", "elman_tanh", "gru"])
@pytest.mark.parametrize("kind", [READS["rnn"], FULL, READS["prefix"]], ids=["rnn", "full", "prefix"])
@torch.no_grad()
def test_cost_is_what_is_counted(kind: dict[str, Any], cell: str) -> None:
    model = model_of(**kind, cell=cell)
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
        model(random_ids())
    assert counter.get_total_flops() == 3 * 7 * model.flops_per_token()


def test_dropout_acts_in_training_alone() -> None:
    ids = random_ids()
    for kind in (*READS.values(), FULL):
        for name in ("embd_pdrop", "resid_pdrop"):
            model = model_of(**kind, **{name: 0.5})
            assert torch.equal(model(ids).logits, model(ids).logits)
            model.train()
            assert not torch.equal(model(ids).logits, model(ids).logits)
        with pytest.raises(UsageError, match=r"model\.resid_pdrop=0\.5: is applied between layers"):
            model_of(**kind, n_layer=1, resid_pdrop=0.5)


@pytest.mark.parametrize(
    ("family", "changed", "refusal"),
    [
        (
            RNN,
            {"cell": "gru", "readout": "literal"},
            r"model\.readout=literal: needs a cell .* model\.cell=gru has not",
        ),
        (RNN, {"cell": "lstm", "readout": "literal"}, r"model\.readout=literal: .* model\.cell=lstm has not"),
        (RNN, {"cell": "elmann"}, r"model\.cell=elmann: must be one of .*did you mean 'elman'"),
        (RNN, {"readout": "liner"}, r"model\.readout=liner: must be one of .*did you mean 'linear'"),
        (RNN, {"reading": "prefix"}, r"model\.reading: no setting of model\.type=rnn; it belongs to birnn"),
        (RNN, {"objective": "masked"}, r"model\.objective: no setting of model\.type=rnn; it belongs to birnn"),
        (RNN, {"n_query_head": 3}, r"model\.n_query_head: no setting of model\.type=rnn; it belongs to gpt"),
        (RNN, {"resid_pdrop": 1.0}, r"model\.resid_pdrop=1\.0: must be in \[0, 1\)"),
        (RNN, {"embd_pdrop": -0.1}, r"model\.embd_pdrop=-0\.1: must be in \[0, 1\)"),
        (BidirectionalRNN, {"reading": "prefix", "objective": "masked"}, r"model\.objective=masked: hides tokens"),
        (BidirectionalRNN, {"reading": "postfix"}, r"model\.reading=postfix: .*did you mean 'prefix'"),
        (BidirectionalRNN, {"objective": "nxt"}, r"model\.objective=nxt: .*did you mean 'next'"),
        (
            BidirectionalRNN,
            {"readout": "literal"},
            r"model\.readout: no setting of model\.type=birnn; .* rnn",
        ),
        (BidirectionalRNN, {"resid_pdrop": float("nan")}, r"model\.resid_pdrop=nan: must be in"),
    ],
)
def test_settings_that_make_no_sense_are_rejected(family: Any, changed: dict[str, Any], refusal: str) -> None:
    kind = "rnn" if family is RNN else "birnn"
    with pytest.raises(UsageError, match=refusal):
        family(ModelConfig(**SIZES | {"type": kind} | changed))


def test_gpt_has_no_cell() -> None:
    with pytest.raises(UsageError, match=r"model\.cell: no setting of model\.type=gpt; it belongs to rnn, birnn"):
        build(ModelConfig(cell="gru", vocab_size=5))
