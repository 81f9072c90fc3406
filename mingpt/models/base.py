"""LanguageModel: the interface of every model family, which training, generation and evaluation are written against."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mingpt.core.errors import UsageError
from mingpt.core.registry import Registry
from mingpt.core.token_ids import Ids
from mingpt.models.config import ModelConfig as ModelConfig


class LMOutput(NamedTuple):
    """Result of a forward pass: (b, t, v) logits and, given targets, the mean loss in nats; else None."""

    logits: Tensor
    loss: Tensor | None


class State(Protocol):
    """Decoding state: what a model keeps of the tokens so far; the forward pass updates it in place."""

    @property
    def length(self) -> int:
        """Number of tokens so far."""


class RecurrentStateLike(Protocol):
    """Recurrent state that truncated BPTT passes from block to block; the forward pass leaves its tensors detached.

    Attributes:
        length: number of tokens so far
        layers: hidden tensors of each layer, (b, e) each
    """

    length: int
    layers: list[tuple[Tensor, ...]]


MASKED_MODEL = "--model.type=birnn --model.objective=masked"  # settings of a model that fills in masked tokens


class LanguageModel(nn.Module):
    """Base class of every model family.

    `model(idx, targets=None, *, state=None) -> LMOutput` predicts the token after each of (b, t) token ids;
    `new_state(batch)` returns an empty decoding state for generation token by token.

    Attributes:
        config: settings of the model
        draws_from_generator: True if this very class draws random numbers on a CPU through `utils.generator()` only
        expected_mfu: fraction of peak matmul FLOP/s that training reaches (two cores; LOG.md, 2026-11-22)
    """

    config: ModelConfig
    draws_from_generator: ClassVar[bool] = False
    expected_mfu: ClassVar[float] = 0.36

    @property
    def autoregressive(self) -> bool:
        """True if no prediction depends on the token that it predicts, or on a later one."""
        return True

    @property
    def unbounded(self) -> bool:
        """True if decoding continues past block_size in constant memory."""
        return False

    def new_state(self, batch: int) -> State:
        """Return an empty decoding state for `batch` rows."""
        raise NotImplementedError

    def fit(self, ids: Ids) -> float:
        """Fit a model whose config is `count_based` to `ids` in one step; return their mean loss, in nats per token."""
        raise NotImplementedError

    @property
    def stages(self) -> list[nn.Module]:
        """Submodules that run one after another; FSDP gathers the parameters of one at a time."""
        return []

    def grows(self, name: str) -> bool:
        """True if the tensor `name` of the state_dict has a length that depends on the training text."""
        return False

    @property
    def infills(self) -> bool:
        """True if the model was trained to predict masked tokens from the context on both sides."""
        return False

    def masked_logits(self, idx: Tensor, masked: Tensor) -> Tensor:
        """Return (b, t, v) logits for (b, t) ids, of which those at the boolean (b, t) `masked` are hidden.

        Raises:
            UsageError: the model was not trained on masked tokens.
        """
        raise UsageError(f"{type(self).__name__} was not trained on masked tokens; {MASKED_MODEL} trains one that is")

    @classmethod
    def kernels(cls, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> list[dict[str, Any]]:
        """Return the kernel that each attention layer takes for training, and why; [] for a model without attention.

        Args:
            config: model settings
            device: device to train on
            dtype: type of queries, keys and values

        Raises:
            UsageError: the kernel that model.kernel names doesn't support a layer.
        """
        return []

    def flops_per_token(self) -> float:
        """Return the FLOPs of one forward pass per token, at full block length; a training step takes 3 times these."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Device of the parameters, or of the buffers where there are none."""
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


FAMILIES: Registry[type[LanguageModel]] = Registry("model.type")  # mingpt/model.py imports all that register


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Disable gradients and dropout inside; then put every module back into its training or evaluation mode."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was in training.items():
            module.training = was


def next_token_loss(logits: Tensor, targets: Tensor | None) -> Tensor | None:
    """Return the mean cross-entropy, in nats, of (b, t, v) logits against (b, t) targets; None without targets."""
    if targets is None:
        return None
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def to_autocast_type(x: Tensor) -> Tensor:
    """Cast `x` to the type in which autocast computes matrix products; without autocast, return it unchanged.

    The residual stream would otherwise stay float32: twice the bytes, in a step that is largely memory-bound.
    """
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
