"""Held-out loss: what a model has learned, on text that it never saw, every target counted once."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mingpt.errors import UsageError
from mingpt.lm import LanguageModel
from mingpt.text.tokenizers import Ids, Tokenizer

TOKENS_AT_ONCE = 8192  # bounds the memory of one forward pass


@dataclass(frozen=True)
class HeldOutLoss:
    """The mean over some targets.

    Attributes:
        nats: per token
        bits_per_byte: of the targets' UTF-8 text, so that tokenizers compare
        tokens: targets counted
    """

    nats: float
    bits_per_byte: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """e^nats: the number of equally likely tokens that would be as surprising."""
        return math.exp(self.nats)


@torch.no_grad()
def held_out_loss(model: LanguageModel, ids: Ids, tokenizer: Tokenizer, *, at_most: int | None = None) -> HeldOutLoss:
    """Mean loss over `ids` in non-overlapping blocks in order, the short last one included, dropout off.

    Args:
        ids: two tokens at least; all but the first are targets.
        at_most: targets to look at: that many, in whole blocks spread evenly over `ids`; None: every one.

    Raises:
        UsageError: the model is not autoregressive, so its loss says nothing of text to come.
    """
    if not model.autoregressive:
        raise UsageError(
            f"{type(model).__name__} sees the tokens that it predicts, so it has no held-out loss or perplexity; "
            "choose an autoregressive model"
        )
    training, device, nats, spans = model.training, model.device, 0.0, []
    model.eval()
    try:
        for windows in _blocks(ids, model.config.block_size, at_most):
            window = torch.from_numpy(windows.astype(np.int64)).to(device)
            loss = model(window[:, :-1], window[:, 1:]).loss
            assert isinstance(loss, Tensor)
            nats += loss.item() * window[:, 1:].numel()
            spans.append(windows[:, 1:].reshape(-1))
    finally:
        model.train(training)
    scored = np.concatenate(spans)
    length = len(tokenizer.decode(scored).encode())
    return HeldOutLoss(nats / len(scored), nats / math.log(2) / length, len(scored))


def _blocks(ids: Ids, block_size: int, at_most: int | None) -> list[Ids]:
    """Groups of (b, t+1) windows; neighbours share the token that ends one's targets and begins the next's inputs."""
    whole = (len(ids) - 1) // block_size
    windows = np.lib.stride_tricks.sliding_window_view(ids, block_size + 1)[::block_size] if whole else ids[None, :0]
    rest = ids[whole * block_size :][None]
    if at_most is not None and whole and len(ids) - 1 > at_most:
        kept = max(at_most // block_size, 1)
        windows, rest = windows[np.linspace(0, whole - 1, kept).astype(int)], rest[:, :0]
    rows = max(TOKENS_AT_ONCE // block_size, 1)
    groups = [windows[start : start + rows] for start in range(0, len(windows), rows)] if whole else []
    return groups + ([rest] if rest.shape[1] > 1 else [])
