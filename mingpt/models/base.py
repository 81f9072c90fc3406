"""What every language model is to the rest of the project: settings, a forward pass, a state, a cost.

The trainer, the sampler, the evaluation and the checkpoints speak to this protocol and to nothing below it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mingpt.core.errors import UsageError
from mingpt.data.tokenizers import Ids
from mingpt.models.model_config import EVERYONE as EVERYONE
from mingpt.models.model_config import ModelConfig as ModelConfig
from mingpt.models.model_config import Rules


class LMOutput(NamedTuple):
    """What a forward pass returns: (b, t, v) logits, and the mean loss in nats where targets were given."""

    logits: Tensor
    loss: Tensor | None


class State(Protocol):
    """What a model remembers of the tokens it has read; updated in place by the forward pass."""

    @property
    def length(self) -> int:
        """Tokens read so far."""


class CarriedState(Protocol):
    """A state that training takes from one block to the next: the forward pass leaves its tensors detached.

    Attributes:
        length: tokens read so far
        layers: for each layer the tensors that it remembers, each with a row per text
    """

    length: int
    layers: list[tuple[Tensor, ...]]


TRAINED_TO_FILL = "--model.type=birnn --model.objective=masked"  # said to who asks another model to fill gaps


class LanguageModel(nn.Module, Rules):
    """Base of every family; what settings it reads, and their rules, are in its `Rules`.

    `model(idx, targets=None, *, state=None) -> LMOutput` reads (b, t) token ids and predicts the next of each;
    `new_state(batch)` starts a memory of earlier tokens for step-by-step use.
    """

    config: ModelConfig
    own_draws: ClassVar[bool] = False  # whether this very class draws on a CPU by `utils.generator()` alone
    usual_share: ClassVar[float] = 0.36  # of the matrix rate, what a step reached on two cores (LOG.md, 2026-11-22)

    @property
    def autoregressive(self) -> bool:
        """Whether no prediction depends on the token that it predicts, or on a later one."""
        return True

    @property
    def unbounded(self) -> bool:
        """Whether its state goes on past block_size in constant memory."""
        return False

    def new_state(self, batch: int) -> State:
        raise NotImplementedError

    def fit(self, ids: Ids) -> float:
        """Learn `ids` in one go, where it `fits_by_counting`; returns the mean loss on them, in nats."""
        raise NotImplementedError

    @property
    def stages(self) -> list[nn.Module]:
        """Modules that run one after the other; where weights are shared out, each is fetched when its turn comes."""
        return []

    def grows(self, name: str) -> bool:
        """Whether the state_dict's `name` is as long as the text made it, so that loading takes any length."""
        return False

    @property
    def fills(self) -> bool:
        """Whether it was trained to say what stands in a gap, from both sides of it."""
        return False

    def fill(self, idx: Tensor, gaps: Tensor) -> Tensor:
        """(b, t, v) logits of (b, t) ids, not seeing those where the boolean (b, t) `gaps` are.

        Raises:
            UsageError: it does not fill gaps.
        """
        raise UsageError(f"{type(self).__name__} was not trained to fill gaps; {TRAINED_TO_FILL} trains one that is")

    @classmethod
    def kernels(cls, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> list[dict[str, Any]]:
        """Which kernel each attention layer takes to train on a whole block on `device` in `dtype`, and why; [] without
        any.

        Raises:
            UsageError: the one that was asked for can't serve.
        """
        return []

    def flops_per_token(self) -> float:
        """Floating-point operations of one forward pass, per token, at full block length; training costs 3x."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where its numbers lie."""
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def parameter_count(self) -> int:
        """Numbers that training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No gradients and no dropout; every module is as it was afterwards."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was in training.items():
            module.training = was


def next_token_loss(logits: Tensor, targets: Tensor | None) -> Tensor | None:
    """Mean cross-entropy in nats of (b, t, v) logits against (b, t) targets; None without targets."""
    if targets is None:
        return None
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
