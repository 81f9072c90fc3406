"""Writing text: the right distribution, drawn fairly, from prompts of any length, leaving no trace."""

import math
from collections.abc import Callable
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mingpt.data.tokenizers import ByteTokenizer, CharTokenizer
from mingpt.inference.generate import Sampling, draws, generate, probabilities, stream, write
from mingpt.model import GPT
from mingpt.models.base import LanguageModel, LMOutput, ModelConfig
from mingpt.models.rnn import RNN

MakeGPT = Callable[..., GPT]
LETTERS = CharTokenizer("\nabcdefghij")  # 11, as the tiny model's vocabulary
PLAIN = Sampling(temperature=1)
GREEDY = Sampling(temperature=0)


class Chain(LanguageModel):
    """A model whose next token depends on the last alone, by a table of probabilities."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.config = SimpleNamespace(block_size=5)
        self.logits = nn.Parameter(torch.tensor(table, dtype=torch.float64).log())

    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: Any = None) -> LMOutput:
        if state is not None:
            state.length += idx.shape[1]
        return LMOutput(self.logits[idx], None)

    def new_state(self, batch: int) -> Any:
        return SimpleNamespace(length=0)


FAIR = [[0.05, 0.4, 0.15, 0.3, 0.1]] * 5  # whatever came before


def continued(model: LanguageModel, prompt: Tensor, new_tokens: int, sampling: Sampling) -> Tensor:
    return torch.stack(list(generate(model, prompt, new_tokens, sampling)), 1)


def prompt_of(length: int, batch: int = 3) -> Tensor:
    return torch.randint(11, (batch, length), generator=torch.Generator().manual_seed(length))


def chances(p: list[float], **sampling: Any) -> list[float]:
    """What becomes of the probabilities p."""
    logits = torch.tensor(p, dtype=torch.float64).log()[None] + 3  # a constant changes nothing
    return probabilities(logits, Sampling(**{"temperature": 1.0} | sampling))[0].tolist()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, [0.15, 0.5, 0.1, 0.25]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_k": 4}, [0.15, 0.5, 0.1, 0.25]),
        ({"top_k": 5}, [0.15, 0.5, 0.1, 0.25]),
        ({"top_p": 1e-9}, [0, 1, 0, 0]),
        ({"top_p": 0.49}, [0, 1, 0, 0]),
        ({"top_p": 0.51}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_p": 0.74}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_p": 0.76}, [0.15 / 0.9, 0.5 / 0.9, 0, 0.25 / 0.9]),
        ({"top_p": 0.91}, [0.15, 0.5, 0.1, 0.25]),
        ({"temperature": 0.5}, [0.0225 / 0.345, 0.25 / 0.345, 0.01 / 0.345, 0.0625 / 0.345]),
        ({"temperature": 1e6}, [0.25, 0.25, 0.25, 0.25]),
        ({"top_k": 2, "top_p": 0.6}, [0, 1, 0, 0]),  # the nucleus of what top_k kept: 2/3 reaches 0.6
        ({"temperature": 0.5, "top_p": 0.8}, [0, 0.8, 0, 0.2]),  # the nucleus of the sharpened: 0.72, 0.18
        ({"min_p": 0.19}, [0.15, 0.5, 0.1, 0.25]),
        ({"min_p": 0.21}, [0.15 / 0.9, 0.5 / 0.9, 0, 0.25 / 0.9]),
        ({"min_p": 1.0}, [0, 1, 0, 0]),
        ({"min_p": 0.4, "temperature": 0.5}, [0, 1, 0, 0]),  # of the sharpened: 0.25 is a quarter of 1
    ],
    ids=str,
)
def test_probabilities_by_hand(sampling: dict[str, Any], expected: list[float]) -> None:
    assert chances([0.15, 0.5, 0.1, 0.25], **sampling) == pytest.approx(expected, abs=1e-6)
    assert [p == 0 for p in chances([0.15, 0.5, 0.1, 0.25], **sampling)] == [p == 0 for p in expected]


@pytest.mark.parametrize("sampling", [{"top_k": 2}, {"top_p": 0.4}], ids=str)
def test_ties_are_cut_to_the_number_that_is_asked_for(sampling: dict[str, Any]) -> None:
    assert sorted(chances([0.25, 0.25, 0.25, 0.25], **sampling)) == pytest.approx([0, 0, 0.5, 0.5])


@given(
    logits=st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=9),
    temperature=st.floats(0, 1e6),  # above, unequal logits become equal
    top_k=st.integers(0, 10),
    top_p=st.floats(0, 1, exclude_min=True),
    min_p=st.floats(0, 1),
)
@example(logits=[5.0, 4.0], temperature=1e-308, top_k=0, top_p=1.0, min_p=0.0)
@example(logits=[0.0, 0.0, 0.0], temperature=1.0, top_k=0, top_p=5e-324, min_p=1.0)
@settings(deadline=None, max_examples=200)
def test_every_valid_setting_gives_probabilities_in_the_order_of_the_logits(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    x = torch.tensor([logits, logits[::-1]], dtype=torch.float64)
    p = probabilities(x, sampling)
    assert (p >= 0).all()
    assert p.sum(-1).tolist() == pytest.approx([1, 1])
    likeliest = x == x.amax(-1, keepdim=True)
    assert torch.equal(p.where(likeliest, 0).amax(-1), p.amax(-1))


@pytest.mark.parametrize("top_k", [0, 1, 2, 11, 12])
@pytest.mark.parametrize("top_p", [1e-9, 0.5, 1.0])
def test_temperature_zero_is_argmax_for_every_top_k_and_top_p(gpt: MakeGPT, top_k: int, top_p: float) -> None:
    model, text = gpt(), prompt_of(3)
    with torch.no_grad():
        for drawn in generate(model, text, 4, Sampling(temperature=0, top_k=top_k, top_p=top_p)):
            assert torch.equal(drawn, model(text).logits[:, -1].argmax(-1))
            text = torch.cat((text, drawn[:, None]), 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -1.0}, "temperature=-1.0: must be a number, 0 or more"),
        ({"temperature": math.nan}, "temperature=nan: must be a number"),
        ({"temperature": math.inf}, "temperature=inf: must be a number"),
        ({"top_k": -1}, "top_k=-1: must be 0"),
        ({"top_p": 0.0}, "top_p=0.0: must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p=1.5: must be above 0 and at most 1"),
        ({"top_p": math.nan}, "top_p=nan: must be above 0"),
        ({"min_p": -0.1}, r"min_p=-0.1: must be in \[0, 1\]"),
        ({"min_p": math.nan}, "min_p=nan: must be in"),
        ({"past_block": "hal"}, r"past_block=hal: must be one of half, exact \(did you mean 'half'\?\)"),
        ({"seed": -1}, "seed=-1: must be in"),
        ({"seed": 2**63}, "seed=9223372036854775808: must be in"),
    ],
    ids=str,
)
def test_wrong_sampling_is_rejected_by_name_value_and_rule(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)


def test_draws_give_the_ids_and_what_they_were_drawn_from(gpt: MakeGPT) -> None:
    model, prompt, sampling = gpt(), prompt_of(3), Sampling(seed=4, top_k=5)
    text = prompt
    for draw, ids in zip(draws(model, prompt, 4, sampling), generate(model, prompt, 4, sampling), strict=True):
        assert torch.equal(draw.ids, ids)
        torch.testing.assert_close(draw.logits, model(text).logits[:, -1])
        assert torch.equal(draw.probabilities, probabilities(draw.logits, sampling))
        text = torch.cat((text, ids[:, None]), 1)


def test_a_negative_number_of_tokens_is_rejected_at_once(gpt: MakeGPT) -> None:
    with pytest.raises(ValueError, match="max_new_tokens=-1: must be 0 or more"):
        generate(gpt(), prompt_of(3), -1, PLAIN)


def test_a_model_that_sees_the_future_is_rejected_at_once(gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GPT, "autoregressive", False)
    with pytest.raises(ValueError, match="GPT isn't autoregressive, so it can't generate text"):
        generate(gpt(), prompt_of(3), 1, PLAIN)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, FAIR[0]),
        ({"top_k": 3}, [0, 8 / 17, 3 / 17, 6 / 17, 0]),
        ({"top_p": 0.75}, [0, 8 / 17, 3 / 17, 6 / 17, 0]),
        ({"temperature": 0.5}, [x * x / 0.285 for x in FAIR[0]]),
        ({"temperature": 2.0, "top_k": 2}, [0, 2 / (2 + math.sqrt(3)), 0, math.sqrt(3) / (2 + math.sqrt(3)), 0]),
    ],
    ids=str,
)
def test_draws_have_the_probabilities(
    chi_square_p: Callable[[Any, Any], float], sampling: dict[str, Any], expected: list[float]
) -> None:
    prompt = torch.zeros(100_000, 1, dtype=torch.long)
    drawn = continued(Chain(FAIR), prompt, 1, Sampling(**{"temperature": 1.0, "seed": 11} | sampling))
    assert chi_square_p(drawn.flatten().bincount(minlength=5), expected) > 1e-4


def test_rows_of_a_batch_and_tokens_of_a_row_are_drawn_independently(chi_square_p: Callable[[Any, Any], float]) -> None:
    drawn = continued(Chain(FAIR), torch.zeros(40_000, 1, dtype=torch.long), 2, PLAIN)
    p = torch.tensor(FAIR[0], dtype=torch.float64)
    neighbours, halves = drawn[:, 0].view(-1, 2), drawn[:, 0].view(2, -1).T
    for pairs in (neighbours, halves, drawn):
        assert chi_square_p((5 * pairs[:, 0] + pairs[:, 1]).bincount(minlength=25), torch.outer(p, p)) > 1e-4


def test_each_draw_is_made_after_the_one_before(chi_square_p: Callable[[Any, Any], float]) -> None:
    table = [[0.1, 0.9], [0.7, 0.3]]
    drawn = continued(Chain(table), torch.ones(1000, 1, dtype=torch.long), 20, PLAIN)
    pairs = torch.stack((drawn[:, :-1], drawn[:, 1:]), -1).flatten(0, 1)
    for token in (0, 1):
        followers = pairs[pairs[:, 0] == token][:, 1]
        assert chi_square_p(followers.bincount(minlength=2), table[token]) > 1e-4


@torch.no_grad()
def by_full_passes(model: LanguageModel, text: Tensor, new_tokens: int, sampling: Sampling) -> Tensor:
    """The ids that follow, each by a pass over all of its context, as the definitions of `past_block` say."""
    size, context = model.config.block_size, text[:, -model.config.block_size :]
    kept = {"exact": size, "half": math.ceil(size / 2)}[str(sampling.past_block)]
    generator = torch.Generator().manual_seed(sampling.seed)
    for _ in range(new_tokens):
        if context.shape[1] > size:
            context = context[:, -kept:]
        p = probabilities(model(context).logits[:, -1], sampling)
        token = torch.multinomial(p, 1, generator=generator)
        text, context = torch.cat((text, token), 1), torch.cat((context, token), 1)
    return text[:, -new_tokens:]


@pytest.mark.parametrize("past_block", ["half", "exact"])
@pytest.mark.parametrize("block_size", [1, 5, 6])
@pytest.mark.parametrize(("blocks", "more"), [(0, 1), (1, -1), (1, 0), (1, 1), (10, 0)])
@pytest.mark.parametrize("rope", [False, True])
@pytest.mark.parametrize(
    "sampling", [{"temperature": 0}, {"temperature": 1.3, "top_k": 9, "top_p": 0.95, "seed": 6}], ids=str
)
@pytest.mark.thin
def test_text_is_that_of_full_passes_over_each_tokens_context(
    gpt: MakeGPT, past_block: str, block_size: int, blocks: int, more: int, rope: bool, sampling: dict[str, Any]
) -> None:
    tokens, how = max(blocks * block_size + more, 1), Sampling(**sampling, past_block=past_block)
    model, text = gpt(block_size=block_size, rope=rope), prompt_of(tokens)
    assert torch.equal(continued(model, text, 14, how), by_full_passes(model, text, 14, how))


def test_half_a_block_is_encoded_again_once_the_cache_is_full(gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = gpt(block_size=7), list[tuple[int, int]]()
    forward = model.forward

    def watched(idx: Tensor, *, state: Any) -> LMOutput:
        read.append((state.length, idx.shape[1]))
        return forward(idx, state=state)

    monkeypatch.setattr(model, "forward", watched)
    continued(model, prompt_of(3), 14, PLAIN)
    again = [(0, 4), (4, 1), (5, 1), (6, 1)]
    assert read == [(0, 3), (3, 1), *again[1:], *again, *again, (0, 4)]
    for longest in (20, 7):
        read.clear()
        continued(model, prompt_of(longest), 9, PLAIN)
        assert read == [(0, 7), *again, *again]


def test_half_is_the_default_with_a_cache_and_exact_without(gpt: MakeGPT) -> None:
    model, prompt = gpt(), prompt_of(3)
    texts = {way: continued(model, prompt, 25, Sampling(past_block=way)) for way in (None, "half", "exact")}
    without = torch.stack(list(generate(model, prompt, 25, Sampling(), cache=False)), 1)
    assert torch.equal(texts[None], texts["half"])
    assert torch.equal(without, texts["exact"])
    assert torch.equal(texts["half"][:, :5], texts["exact"][:, :5])  # the fifth has a block of seven before it
    assert not torch.equal(texts["half"], texts["exact"])


def test_half_a_block_without_a_cache_is_rejected(gpt: MakeGPT) -> None:
    with pytest.raises(ValueError, match="past_block=half: needs cache=True"):
        generate(gpt(), prompt_of(3), 1, Sampling(past_block="half"), cache=False)


def test_past_block_changes_nothing_where_the_state_has_no_end() -> None:
    model = RNN(ModelConfig(type="rnn", n_layer=1, n_embd=8, vocab_size=11, block_size=3)).double()
    half, exact = (continued(model, prompt_of(2), 12, Sampling(past_block=way)) for way in ("half", "exact"))
    assert torch.equal(half, exact)


def test_training_may_begin_between_any_two_tokens(gpt: MakeGPT) -> None:
    model, drawn = gpt(), list[Tensor]()
    for tokens in generate(model, prompt_of(3), 25, PLAIN):
        drawn.append(tokens)
        model.train(len(drawn) % 3 == 0)
    assert torch.equal(torch.stack(drawn, 1), continued(gpt(), prompt_of(3), 25, PLAIN))


def test_rows_written_together_are_rows_written_alone(gpt: MakeGPT) -> None:
    model, prompt = gpt(), prompt_of(3)
    alone = torch.cat([continued(model, row[None], 9, GREEDY) for row in prompt])
    assert torch.equal(continued(model, prompt, 9, GREEDY), alone)


def test_same_seed_same_text_another_seed_another(gpt: MakeGPT) -> None:
    model, prompt = gpt(), prompt_of(3)
    texts = [continued(model, prompt, 20, Sampling(seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


@pytest.mark.parametrize("training", [True, False])
def test_no_trace_is_left_between_tokens_nor_at_the_end(gpt: MakeGPT, training: bool) -> None:
    model = gpt(resid_pdrop=0.5, attn_pdrop=0.5, embd_pdrop=0.5).train(training)
    prompt = prompt_of(3)
    before, random_state = prompt.clone(), torch.get_rng_state()
    drawn = []
    for tokens in generate(model, prompt, 9, PLAIN):
        assert {module.training for module in model.modules()} == {training}
        assert torch.is_grad_enabled()
        drawn.append(tokens)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(prompt, before)
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.stack(drawn, 1), continued(gpt(), prompt, 9, PLAIN))  # as without dropout


def test_a_text_abandoned_half_way_leaves_the_model_training(gpt: MakeGPT) -> None:
    model = gpt().train()
    assert len(list(islice(generate(model, prompt_of(3), 9, PLAIN), 2))) == 2
    assert model.training
    assert torch.is_grad_enabled()


def test_a_failure_half_way_leaves_the_model_training(gpt: MakeGPT) -> None:
    model = gpt().train()
    with pytest.raises(IndexError):
        list(generate(model, torch.tensor([[11]]), 1, PLAIN))  # 11 is no token
    assert model.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("prompt", ["a", "abc", "abcdefghij" * 3, ""])
def test_zero_new_tokens_return_the_prompt(gpt: MakeGPT, prompt: str) -> None:
    assert write(gpt(), LETTERS, prompt, 0, PLAIN) == prompt


def test_written_text_is_the_prompt_and_what_is_streamed(gpt: MakeGPT) -> None:
    model, sampling = gpt(), Sampling(seed=4)
    ids = continued(model, torch.tensor([[2, 3]]), 12, sampling)[0].tolist()
    assert list(stream(model, LETTERS, "bc", 12, sampling)) == [LETTERS.vocabulary[i] for i in ids]
    assert write(model, LETTERS, "bc", 12, sampling) == "bc" + LETTERS.decode(ids)


@pytest.mark.parametrize(
    ("bytes_drawn", "pieces"),
    [
        ("aé中🤗b".encode(), ["a", "", "é", "", "", "中", "", "", "", "🤗", "b"]),
        (b"a\xe4\xb8", ["a", "", "", "\ufffd"]),  # the model stopped inside a character
        (b"\xe4a\x80b", ["", "\ufffda", "\ufffd", "b"]),  # no text at all
        (b"\xff\xc3\xa9", ["\ufffd", "", "é"]),
    ],
    ids=repr,
)
def test_part_of_a_character_is_shown_as_a_broken_one(
    gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch, bytes_drawn: bytes, pieces: list[str]
) -> None:
    drawn = [torch.tensor([number]) for number in bytes_drawn]
    monkeypatch.setattr("mingpt.inference.generate.generate", lambda *args, **kwargs: iter(drawn))
    found = list(stream(gpt(vocab_size=256), ByteTokenizer(), "x", len(drawn), PLAIN))
    assert found == pieces
    assert "".join(found) == ByteTokenizer().decode(bytes_drawn)


def test_prompt_of_bytes_cut_inside_a_character_is_kept(gpt: MakeGPT) -> None:
    model = gpt(vocab_size=256)
    ids = continued(model, torch.tensor([list("é🤗中".encode())]), 30, PLAIN)[0].tolist()
    assert write(model, ByteTokenizer(), "é🤗中", 30, PLAIN) == "é🤗中" + ByteTokenizer().decode(ids)


def test_an_empty_prompt_starts_as_after_a_line_end(gpt: MakeGPT) -> None:
    model = gpt()
    assert "\n" + write(model, LETTERS, "", 12, GREEDY) == write(model, LETTERS, "\n", 12, GREEDY)


def test_an_empty_prompt_where_there_are_no_lines_starts_after_the_first_token(gpt: MakeGPT) -> None:
    model, oneline = gpt(), CharTokenizer("abcdefghijk")
    assert "a" + write(model, oneline, "", 12, GREEDY) == write(model, oneline, "a", 12, GREEDY)


def test_unknown_characters_of_a_prompt_come_with_code_points(gpt: MakeGPT) -> None:
    with pytest.raises(ValueError, match=r"'П' \(U\+041F\).*'🤗' \(U\+1F917\)"):
        write(gpt(), LETTERS, "abПc🤗", 3, PLAIN)


@pytest.mark.parametrize("cache", [True, False])
def test_prompt_longer_than_a_block_is_complete_for_a_model_that_needs_no_cut(cache: bool) -> None:
    torch.manual_seed(0)
    model = RNN(ModelConfig(type="rnn", n_layer=1, n_embd=8, vocab_size=11, block_size=3)).double()
    prompt = torch.randint(11, (2, 10), generator=torch.Generator().manual_seed(1))
    written, text = torch.stack(list(generate(model, prompt, 6, Sampling(temperature=0), cache=cache)), 1), prompt
    with torch.no_grad():
        for _ in range(6):
            text = torch.cat((text, model(text).logits[:, -1:].argmax(-1)), 1)
    assert torch.equal(written, text[:, 10:])
