"""The compiled step of one token is the step."""

import shutil

import pytest
import torch
import torch.nn.functional as F

from mingpt.core.errors import UsageError
from mingpt.inference.compiled_decode import SingleRowOps, compiled_step
from mingpt.inference.generate import Sampling, generate
from mingpt.model import GPT
from mingpt.models.base import ModelConfig

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


@pytest.mark.parametrize("shape", [(7,), (1, 7), (1, 1, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_row_product_is_the_linear_layer(shape, bias):
    x, weight = torch.randn(*shape, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    b = torch.randn(5, dtype=torch.float64) if bias else None
    expected = F.linear(x, weight, b)
    with SingleRowOps():
        ours = F.linear(x, weight, bias=b)
    assert ours.shape == expected.shape
    assert torch.allclose(ours, expected, rtol=0, atol=1e-13)


def test_several_rows_stay_a_matrix_product():
    x, weight = torch.randn(2, 7), torch.randn(5, 7)
    with SingleRowOps():
        assert torch.equal(F.linear(x, weight), x @ weight.T)


def attend(q, k, v, mask=None):
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=0.0, is_causal=False, scale=0.3, enable_gqa=k.shape[1] != q.shape[1]
    )


@pytest.mark.parametrize("key_heads", [1, 3, 6])
@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (1, 9), (3, 9)])
def test_a_query_that_reads_all_is_attention(key_heads, rows, keys):
    q = torch.randn(rows, 6, 1, 4, dtype=torch.float64)
    k, v = torch.randn(2, rows, key_heads, keys + 2, 4, dtype=torch.float64)[:, :, :, :keys]  # as a cache gives them
    with SingleRowOps():
        ours = attend(q, k, v)
    assert torch.allclose(ours, attend(q, k, v), rtol=0, atol=1e-13)


def test_attention_of_one_query_is_left_to_the_fused_kernel():
    q, k, v = torch.randn(3, 1, 2, 1, 4)
    called = []

    class Looks(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.append(str(func))
            return func(*args, **(kwargs or {}))

    with Looks(), SingleRowOps():
        F.scaled_dot_product_attention(q, k, v)
        assert not [name for name in called if "attention" in name]
        F.scaled_dot_product_attention(q.expand(1, 2, 3, 4), k, v)
        assert [name for name in called if "attention" in name]


def test_attention_takes_what_pytorch_s_takes():
    q, k, v = torch.randn(3, 1, 2, 1, 4, dtype=torch.float64)
    with SingleRowOps():
        ours = F.scaled_dot_product_attention(q, k, v)
    assert torch.allclose(ours, F.scaled_dot_product_attention(q, k, v), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("queries", "masked"), [(2, False), (1, True)])
def test_other_attention_stays_as_it_is(queries, masked):
    q, k, v = torch.randn(1, 2, queries, 4), torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4)
    mask = torch.arange(5)[None] < 3 if masked else None
    with SingleRowOps():
        ours = attend(q, k, v, mask)
    assert torch.equal(ours, attend(q, k, v, mask))


@needs_compiler
@pytest.mark.filterwarnings("ignore")  # compilers warn of what is theirs
@pytest.mark.parametrize("window", [5, None])
@pytest.mark.full
def test_compiled_steps_past_the_window_equal_a_full_pass(window):
    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_query_head": 2, "n_kv_head": 1, "n_embd": 12, "block_size": 16, "vocab_size": 11}
    model = GPT(ModelConfig(**sizes, rope=True, window=window, conv_width=3)).double().eval()
    torch.nn.init.normal_(model.blocks[0].convolution.weight)
    ids = torch.randint(11, (1, 12))
    state = model.new_state(1)
    with torch.no_grad():
        model(ids[:, :2], state=state)
        ours = torch.cat([compiled_step()(model, ids[:, at : at + 1], state) for at in range(2, 12)])
        expected = model(ids).logits[0, 2:]
    assert torch.allclose(ours, expected, rtol=0, atol=1e-10)


@needs_compiler
@pytest.mark.filterwarnings("ignore")
@pytest.mark.full
def test_compiling_changes_no_text_up_to_the_block_and_past_it():
    torch.manual_seed(0)
    model = GPT(ModelConfig(n_layer=1, n_query_head=2, n_embd=8, block_size=16, vocab_size=11)).eval()
    prompt = torch.randint(11, (1, 3))
    plain, compiled = (
        torch.stack(list(generate(model, prompt, 40, Sampling(), compile=wish))) for wish in (False, True)
    )
    assert torch.equal(plain, compiled)


def test_no_compiler_is_one_line_that_says_what_to_do(monkeypatch):
    def fails(model, ids, state):
        raise torch._dynamo.exc.BackendCompilerFailed(None, RuntimeError("no C++ compiler"), None)

    monkeypatch.setattr(torch, "compile", lambda step: fails)
    compiled_step.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"compile=True: torch\.compile failed .*; generate without it"):
            compiled_step()(None, None, None)
    finally:
        compiled_step.cache_clear()


def test_compiling_what_is_never_called_is_rejected():
    model = GPT(ModelConfig(n_layer=1, n_query_head=2, n_embd=8, block_size=8, vocab_size=11))
    with pytest.raises(UsageError, match="compile=True: needs prompt and tokens within block_size=8, or past_block=h"):
        generate(model, torch.zeros(1, 3, dtype=torch.long), 7, Sampling(past_block="exact"), compile=True)


def test_compiling_without_a_cache_is_rejected():
    model = GPT(ModelConfig(n_layer=1, n_query_head=2, n_embd=8, block_size=8, vocab_size=11))
    with pytest.raises(UsageError, match="compile=True: needs cache=True"):
        generate(model, torch.zeros(1, 3, dtype=torch.long), 1, Sampling(), cache=False, compile=True)
