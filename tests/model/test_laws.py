"""Laws that every model obeys, over every variant there is: a new entry of a registry is tested with no edit."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.attention.kernels import Need, Sdpa
from mingpt.attention.masks import MASKS
from mingpt.attention.positions import POSITIONS
from mingpt.attention.scores import SCORES
from mingpt.generate import Sampling, generate
from mingpt.initialise import INITS
from mingpt.mlps import MLPS
from mingpt.model import GPT
from mingpt.norms import NORMS
from mingpt.optim import OPTIMIZERS

MakeGPT = Callable[..., GPT]
Settings = dict[str, Any]
GREEDY = Sampling(temperature=0)

VARIANTS: dict[str, Settings] = {
    **{f"{p}-{g}of6": {"position": p, "n_kv_head": g} for p in POSITIONS for g in (6, 2, 1)},
    **{f"{s}-window={w}": {"score": s, "window": w, "n_kv_head": 2, "rope": True} for s in SCORES for w in (None, 3)},
    **{f"mask={name}": {"mask": name} for name, mask in ((m, MASKS[m]) for m in MASKS) if mask.causal},
    **{f"norm={name}": {"norm": name} for name in NORMS},
    **{f"mlp={name}": {"mlp": name} for name in MLPS},
    **{f"init={name}": {"init": name} for name in INITS},
    "window=block": {"window": 7, "rope": True},
    "window_pattern": {"window": 2, "window_pattern": "wf"},
    "qk_norm": {"qk_norm": True, "rope": True},
    "no_bias": {"bias": False},
    "one_layer": {"n_layer": 1},
    "one_head": {"n_query_head": 1, "rope": True},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture
def leaky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that sees the future: the laws below must catch it."""

    def attend(kernel: Sdpa, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, None]:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True), None

    monkeypatch.setattr(Sdpa, "attend", attend)


def random_ids(batch: int = 3, length: int = 7) -> Tensor:
    return torch.randint(11, (batch, length), generator=torch.Generator().manual_seed(length))


def reach(model: GPT) -> int:
    """How far back a logit reads: each layer, its window without the query's own position."""
    return int(sum(min(block.attention.mask.band, 7) - 1 for block in model.blocks))


def changed_by_the_future(model: GPT) -> bool:
    """Whether another token j alters any bit of a logit before j; logits from j on must change, as far as they read."""
    ids = random_ids()
    logits, altered = model(ids).logits, False
    for j in range(ids.shape[1]):
        other = ids.clone()
        other[:, j] = (other[:, j] + 1) % 11
        again = model(other).logits
        altered |= not torch.equal(again[:, :j], logits[:, :j])
        end = j + reach(model) + 1
        assert (again[:, j:end] != logits[:, j:end]).any(-1).all(), "a token has no effect on what follows it"
        assert torch.equal(again[:, end:], logits[:, end:]), "a token has an effect beyond every window"
    return altered


def gradient_from_the_future(model: GPT) -> float:
    """The largest derivative of logit i by the embedding of token j > i; those by j <= i in reach must not vanish."""
    embedded: list[Tensor] = []
    model.embedding.register_forward_hook(lambda module, inputs, output: embedded.append(output))
    logits, largest = model(random_ids()).logits, 0.0
    for i in range(logits.shape[1]):
        gradient = torch.autograd.grad(logits[:, i].square().sum(), embedded, retain_graph=True)[0].abs().amax(-1)
        first = max(i - reach(model), 0)
        assert (gradient[:, first : i + 1] > 0).all(), "a token has no effect on what follows it"
        assert not gradient[:, :first].any(), "a token has an effect beyond every window"
        largest = max(largest, gradient[:, i + 1 :].max().item() if i + 1 < logits.shape[1] else 0.0)
    return largest


def total_probability(model: GPT, length: int) -> Tensor:
    """(3,) for each first token of three, the sum over all continuations of their probabilities."""
    texts = torch.tensor(list(product(range(3), repeat=length)))
    logs = model(texts).logits.log_softmax(-1)[:, :-1]
    of_each = logs.gather(-1, texts[:, 1:, None]).sum((1, 2)).exp()
    return torch.zeros(3, dtype=torch.float64).index_add(0, texts[:, 0], of_each)


@every_variant
def test_no_bit_before_a_changed_token_changes(gpt: MakeGPT, variant: Settings) -> None:
    assert not changed_by_the_future(gpt(**variant))


@every_variant
def test_gradient_to_the_future_is_exactly_zero(gpt: MakeGPT, variant: Settings) -> None:
    assert gradient_from_the_future(gpt(**variant)) == 0.0


@every_variant
def test_probabilities_of_all_texts_sum_to_one(gpt: MakeGPT, variant: Settings) -> None:
    model = gpt(**variant | {"vocab_size": 3, "block_size": 5})
    for length in (2, 3, 4, 5):
        assert (total_probability(model, length) - 1).abs().max() <= 1e-12


@pytest.mark.usefixtures("leaky")
def test_the_three_laws_catch_a_model_that_sees_the_future(gpt: MakeGPT) -> None:
    assert changed_by_the_future(gpt())
    assert gradient_from_the_future(gpt()) > 1e-3
    assert (total_probability(gpt(vocab_size=3, block_size=5), 5) - 1).abs().max() > 1e-3


@every_variant
def test_rows_of_a_batch_do_not_touch_each_other(gpt: MakeGPT, variant: Settings) -> None:
    model, ids = gpt(**variant), random_ids()
    alone = torch.cat([model(row[None]).logits for row in ids])
    torch.testing.assert_close(model(ids).logits, alone, rtol=0, atol=1e-12)


@every_variant
@torch.no_grad()
def test_cached_steps_equal_the_full_pass_for_every_chunk(gpt: MakeGPT, variant: Settings) -> None:
    model, ids = gpt(**variant), random_ids()
    full = model(ids).logits
    for chunk in (1, 2, 3, 7):
        state, parts = model.new_state(len(ids)), []
        for part in ids.split(chunk, dim=1):
            parts.append(model(part, state=state).logits)
            assert state.length == sum(p.shape[1] for p in parts)
        torch.testing.assert_close(torch.cat(parts, 1), full, rtol=0, atol=1e-10)


@every_variant
@torch.no_grad()
def test_greedy_text_is_that_of_full_passes_through_and_past_the_block(gpt: MakeGPT, variant: Settings) -> None:
    model = gpt(**variant)
    prompt = text = random_ids(length=2)
    for _ in range(9):
        text = torch.cat((text, model(text[:, -7:]).logits[:, -1:].argmax(-1)), 1)
    written = torch.stack(list(generate(model, prompt, 9, GREEDY)), 1)
    assert torch.equal(torch.cat((prompt, written), 1), text)


@every_variant
def test_first_loss_is_that_of_a_guess(fresh_gpt: MakeGPT, variant: Settings) -> None:
    ids = torch.randint(65, (8, 8), generator=torch.Generator().manual_seed(0))
    model = fresh_gpt(**variant | {"vocab_size": 65})
    assert model(ids[:, :-1], ids[:, 1:]).loss.item() == pytest.approx(math.log(65), abs=0.15)


@every_variant
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_batch_is_learned_by_heart(fresh_gpt: MakeGPT, variant: Settings, optimizer: str) -> None:
    ids = torch.cat((torch.arange(4)[:, None], random_ids(4, 7)), 1)  # rows are told apart from the first token on
    model = fresh_gpt(**variant)
    optimizers = OPTIMIZERS[optimizer](model, lr=0.01, matrix_lr=0.02, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(100):
        loss = model(ids[:, :-1], ids[:, 1:]).loss
        if loss.item() < 0.1:
            return
        loss.backward()
        for each in optimizers:
            each.step()
            each.zero_grad()
    pytest.fail(f"the loss is still {loss.item():.3f}")


@every_variant
def test_every_parameter_has_a_gradient(gpt: MakeGPT, variant: Settings) -> None:
    model = gpt(**variant)
    ids = (torch.arange(11)[:, None] + 3 * torch.arange(7)) % 11  # every token at every position, no row of one token
    model(ids, ids.roll(1, 0)).loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-12]
    # A key's bias adds the same to all scores of a query where keys aren't turned, so softmax drops it.
    idle = ["k_proj.bias"]
    if variant.get("score") == "linear_concat":  # and so it does with all that this score has of the query
        idle += ["q_proj.weight", "q_proj.bias", "score.query"]
    assert [name for name in without if not name.endswith(tuple(idle))] == []
