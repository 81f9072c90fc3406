"""The key/value cache: what it holds, what it hands out, and that text through it is text without it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mingpt.inference.generate import Sampling, generate
from mingpt.model import GPT
from mingpt.models.attention.kv_cache import KeyValueCache
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES

MakeGPT = Callable[..., GPT]
CPU = torch.device("cpu")
GREEDY = Sampling(temperature=0)


def drawn(length: int) -> tuple[Tensor, Tensor]:
    """(3, 2, length, 7) keys and values."""
    k, v = torch.randn(2, 3, 2, length, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    return k, v


def cache_of(capacity: int, *, ring: bool) -> KeyValueCache:
    return KeyValueCache((3, 2, capacity, 7), torch.float64, CPU, ring=ring)


def random_ids(length: int, batch: int = 3) -> Tensor:
    return torch.randint(11, (batch, length), generator=torch.Generator().manual_seed(length))


# -- the cache itself


def test_cache_returns_all_that_was_put_in_and_rejects_what_has_no_room() -> None:
    k, v = drawn(5)
    cache = cache_of(5, ring=False)
    for start, stop in ((0, 1), (1, 3), (3, 5)):
        keys, values, keys_at = cache.extend(k[:, :, start:stop], v[:, :, start:stop])
        assert cache.length == stop
        assert torch.equal(keys, k[:, :, :stop])
        assert torch.equal(values, v[:, :, :stop])
        assert keys_at is None
    with pytest.raises(ValueError, match=r"6 tokens.*room for 5"):
        cache.extend(k[:, :, :1], v[:, :, :1])
    assert cache.length == 5
    assert torch.equal(cache.keys, k)
    assert torch.equal(cache.values, v)


@pytest.mark.parametrize("capacity", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "chunks", [[1] * 17, [2] * 8, [3, 1, 1, 7, 1, 4], [5, 6, 1, 5], [17], [1, 16], [16, 1]], ids=str
)
def test_ring_hands_out_what_each_new_token_may_read_and_where_it_stands(capacity: int, chunks: list[int]) -> None:
    k, v = drawn(sum(chunks))
    cache, before = cache_of(capacity, ring=True), 0
    for chunk in chunks:
        stop = before + chunk
        keys, values, keys_at = cache.extend(k[:, :, before:stop], v[:, :, before:stop])
        stands = torch.arange(keys.shape[2]) if keys_at is None else keys_at
        assert sorted(set(stands.tolist())) == sorted(stands.tolist())
        needed = set(range(max(before - capacity + 1, 0), stop))  # the first new token reads capacity - 1 before it
        assert needed <= set(stands.tolist()) <= set(range(stop))
        assert torch.equal(keys, k[:, :, stands])
        assert torch.equal(values, v[:, :, stands])
        before = stop
        assert cache.length == before
    held = range(max(before - capacity, 0), before)
    for p in held:  # position p lies at slot p mod capacity
        assert torch.equal(cache.keys[:, :, p % capacity], k[:, :, p])
        assert torch.equal(cache.values[:, :, p % capacity], v[:, :, p])
    assert cache.keys.shape == (3, 2, capacity, 7)


def test_first_piece_of_a_ring_is_a_complete_sequence_that_a_kernel_of_a_window_serves() -> None:
    """Positions would stand in its way: a mask of all pairs took three times as long at 4,096 tokens."""
    k, v = drawn(9)
    cache = cache_of(4, ring=True)
    keys, values, keys_at = cache.extend(k[:, :, :7], v[:, :, :7])
    assert keys_at is None
    assert torch.equal(keys, k[:, :, :7])
    assert torch.equal(values, v[:, :, :7])
    _, _, keys_at = cache.extend(k[:, :, 7:], v[:, :, 7:])
    assert keys_at is not None
    assert keys_at.tolist() == [3, 4, 5, 6, 7, 8]


def test_ring_hands_one_token_exactly_its_window() -> None:
    k, v = drawn(9)
    cache = cache_of(4, ring=True)
    for p in range(9):
        _, _, keys_at = cache.extend(k[:, :, p : p + 1], v[:, :, p : p + 1])
        if p >= 4:
            assert sorted(keys_at.tolist()) == list(range(p - 3, p + 1))


@pytest.mark.parametrize("ring", [False, True])
def test_what_was_handed_in_is_copied(ring: bool) -> None:
    k, v = drawn(3)
    cache, kept = cache_of(3, ring=ring), k.clone()
    cache.extend(k, v)
    k.zero_()
    assert torch.equal(cache.keys, kept)


@pytest.mark.parametrize("g", [6, 2, 1])
@pytest.mark.parametrize("window", [None, 1, 3, 7, 20])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.thin
def test_state_takes_exactly_its_formula(gpt: MakeGPT, g: int, window: int | None, dtype: torch.dtype) -> None:
    state = gpt(n_kv_head=g, n_layer=3, window=window).to(dtype).new_state(5)
    positions = min(7, window or 7)
    assert sum(layer.cache.bytes for layer in state.layers) == 2 * 3 * 5 * g * positions * 4 * dtype.itemsize
    for layer in state.layers:
        assert layer.cache.bytes == sum(x.untyped_storage().nbytes() for x in (layer.cache.keys, layer.cache.values))
        assert layer.cache.keys.dtype == dtype


def test_layers_without_the_window_keep_the_whole_block(gpt: MakeGPT) -> None:
    state = gpt(n_layer=4, window=3, window_pattern="wwwf").new_state(2)
    assert [layer.cache.keys.shape[2] for layer in state.layers] == [3, 3, 3, 7]
    assert [layer.cache.ring for layer in state.layers] == [True, True, True, False]


# -- text through it

WINDOW = 4
CHUNKS = [1, 2, WINDOW - 1, WINDOW, WINDOW + 1, 1000]


def through(model: GPT, ids: Tensor, prompt: int, chunk: int) -> Tensor:
    """Logits of a prompt in chunks, then of one token at a time."""
    state = model.new_state(len(ids))
    parts = [*ids[:, :prompt].split(chunk, 1), *ids[:, prompt:].split(1, 1)]
    logits = [model(part, state=state).logits for part in parts]
    assert state.length == ids.shape[1]
    return torch.cat(logits, 1)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("pattern", [None, "wf"])
@torch.no_grad()
@pytest.mark.thin(8)
def test_every_prompt_and_chunk_gives_the_logits_of_one_pass(
    gpt: MakeGPT, position: str, score: str, pattern: str | None
) -> None:
    block = 5 * WINDOW
    settings: dict[str, Any] = {"position": position, "score": score, "n_kv_head": 2, "block_size": block}
    model, ids = gpt(**settings, window=WINDOW, window_pattern=pattern), random_ids(block, 2)
    full = model(ids).logits
    thorough = score == "scaled_dot" and (pattern is None or position == "rope")
    for prompt in range(1, 3 * WINDOW + 1) if thorough else (1, WINDOW, 3 * WINDOW - 1):
        for chunk in sorted({min(chunk, prompt) for chunk in (CHUNKS if thorough else (2, WINDOW + 1))}):
            length = prompt + 2 * WINDOW
            found = through(model, ids[:, :length], prompt, chunk)
            torch.testing.assert_close(found, full[:, :length], rtol=0, atol=1e-10)


@pytest.mark.parametrize("g", [6, 2, 1])
@pytest.mark.parametrize("window", [None, 1, 2, 16])
@torch.no_grad()
@pytest.mark.thin
def test_every_window_and_grouping_gives_the_logits_of_one_pass(gpt: MakeGPT, g: int, window: int | None) -> None:
    model, ids = gpt(n_kv_head=g, window=window, rope=True, block_size=24), random_ids(24)
    full = model(ids).logits
    for prompt, chunk in ((1, 1), (5, 2), (16, 15), (16, 16), (17, 17), (20, 7), (24, 24)):
        torch.testing.assert_close(through(model, ids, prompt, chunk), full, rtol=0, atol=1e-10)


@pytest.mark.parametrize("position", [name for name in POSITIONS if not POSITIONS[name].bounded])
@pytest.mark.parametrize("window", [1, 3, 7])
@torch.no_grad()
@pytest.mark.thin
def test_a_ring_goes_on_past_the_block_in_constant_memory_as_a_longer_block_would(
    gpt: MakeGPT, position: str, window: int
) -> None:
    settings: dict[str, Any] = {"position": position, "window": window, "n_kv_head": 2}
    model, longer, ids = gpt(**settings), gpt(**settings, block_size=40), random_ids(40)
    longer.load_state_dict(model.state_dict())
    full = longer(ids).logits
    assert model.unbounded
    for prompt, chunk in ((1, 1), (7, 3), (20, 7), (20, 20), (40, 9), (40, 40)):
        torch.testing.assert_close(through(model, ids, prompt, chunk), full, rtol=0, atol=1e-10)
    state = model.new_state(3)
    size = sum(layer.cache.bytes for layer in state.layers)
    model(ids, state=state)
    assert sum(layer.cache.bytes for layer in state.layers) == size


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("pattern", ["w", "wf"])
@torch.no_grad()
def test_greedy_text_is_that_of_fresh_passes_past_the_block(gpt: MakeGPT, position: str, pattern: str) -> None:
    settings: dict[str, Any] = {"position": position, "window": 3, "window_pattern": pattern}
    model, longer = gpt(**settings), gpt(**settings, block_size=40)
    if model.unbounded:
        longer.load_state_dict(model.state_dict())
    prompt = text = random_ids(4)
    for _ in range(20):
        logits = longer(text).logits if model.unbounded else model(text[:, -7:]).logits
        text = torch.cat((text, logits[:, -1:].argmax(-1)), 1)
    assert torch.equal(torch.cat((prompt, torch.stack(list(generate(model, prompt, 20, GREEDY)), 1)), 1), text)


@pytest.mark.parametrize(
    "settings",
    [
        {"position": "learned", "window": 3},
        {"rope": True, "window": 3, "window_pattern": "wf"},
        {"rope": True, "window": 8},
    ],
    ids=str,
)
@torch.no_grad()
def test_what_has_an_end_does_not_go_past_it(gpt: MakeGPT, settings: dict[str, Any]) -> None:
    model, ids = gpt(**settings), random_ids(8)
    assert not model.unbounded
    state = model.new_state(3)
    model(ids[:, :6], state=state)
    with pytest.raises(ValueError, match=r"8 tokens.*block_size=7"):
        model(ids[:, 6:], state=state)
    assert state.length == 6
