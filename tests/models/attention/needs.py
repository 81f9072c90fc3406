"""What tests of kernels ask for: inputs, needs, scores and position biases whose every number matters, the definition
in all its N x N numbers, refusals that say why, and a layer with what a compiler sees of it."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mingpt.core.errors import UsageError
from mingpt.model import GroupedQueryAttention
from mingpt.models.attention.kernels import KERNELS, Need, choose
from mingpt.models.attention.masks import CAUSAL, sliding_window
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES, Score


def score_of(name: str, heads: int, width: int) -> Score:
    torch.manual_seed(1)
    score = SCORES[name](SimpleNamespace(n_query_head=heads, head_width=width)).double()
    for parameter in score.parameters():
        nn.init.normal_(parameter)
    return score


def bias_of(position: str, heads: int) -> Any:
    code = POSITIONS[position](
        SimpleNamespace(
            n_embd=2 * heads, n_query_head=heads, head_width=2, rope_base=100.0, rope_scaling=1.0, block_size=9
        )
    )
    return code.bias if code.has_bias else None


def refuses_by_name(name: str, need: Need) -> bool:
    """Whether kernel `name` refuses; it must then say so of both itself and the need, and not serve by accident."""
    if reason := KERNELS[name].unsupported(need):
        with pytest.raises(UsageError, match=f"model.kernel={name}: doesn't support ") as refused:
            choose(name, need)
        assert need.described() in str(refused.value)
        assert reason in str(refused.value)
    return bool(reason)


def drawn(b: int, h: int, g: int, n: int, d: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """q (b, h, n, d), k and v (b, g, n, d), the same for the same sizes."""
    generator = torch.Generator().manual_seed(b + h + g + n + d)
    shapes = ((b, h, n, d), (b, g, n, d), (b, g, n, d))
    return tuple(torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in shapes)


def need_of(q: Tensor, window: int | None) -> Need:
    """Of a whole sequence, causally, with scaled dot products."""
    score = SCORES["scaled_dot"](SimpleNamespace(n_query_head=q.shape[1], head_width=q.shape[-1]))
    mask, n = sliding_window(window) if window else CAUSAL, q.shape[2]
    return Need(mask=mask, score=score, queries=n, keys=n, width=q.shape[-1], device=q.device, dtype=q.dtype)


def serves_here(name: str) -> bool:
    """Whether a kernel serves any plain layer on the CPU."""
    q = torch.empty(1, 2, 64, 16)
    return any(KERNELS[name].unsupported(need_of(q, window)) is None for window in (None, 3))


SERVING = [name for name in KERNELS if serves_here(name)]
every_kernel = pytest.mark.parametrize("name", SERVING)
every_other = pytest.mark.parametrize("name", [name for name in SERVING if name != "reference"])


def defined(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float) -> tuple[Tensor, Tensor]:
    """The output and the log-sum-exp of attention with a window."""
    n, shared = q.shape[2], q.shape[1] // k.shape[1]
    lag = torch.arange(n)[:, None] - torch.arange(n)
    k, v = (x.repeat_interleave(shared, 1) for x in (k, v))
    logits = (scale * q @ k.mT).masked_fill((lag < 0) | (lag >= window), -math.inf)
    return logits.softmax(-1) @ v, logits.logsumexp(-1)


def called_where_compiled(kernel: str, dropout_p: float = 0.0) -> list[str]:
    """What a compiler sees a layer with a window call, in one graph whose output and gradients are the layer's own."""
    fields = {"n_embd": 24, "n_query_head": 4, "n_kv_head": 2, "rope": True, "block_size": 19, "window": 5}
    torch.manual_seed(0)
    config = SimpleNamespace(**fields, kernel=kernel, attn_pdrop=dropout_p, resid_pdrop=0.0)
    layer = GroupedQueryAttention(config).double()
    x = torch.randn(2, 19, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    graphs: list[list[str]] = []

    def look(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append([str(node.target) for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward

    outputs = []
    for called in (torch.compile(layer, backend=look, fullgraph=True), layer):
        torch.manual_seed(0)  # of dropout
        outputs.append(called(x)[0])
    gradients = [torch.autograd.grad(y.square().sum(), x) for y in outputs]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-13)  # what turns by positions rounds otherwise
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-13)
    (called_in_it,) = graphs
    return called_in_it
