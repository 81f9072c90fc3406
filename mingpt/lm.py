"""What every language model is to the rest of the project: settings, a forward pass, a state, a cost.

The trainer, the sampler, the evaluation and the checkpoints speak to this protocol and to nothing below it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mingpt.attention.layers import AttentionConfig
from mingpt.errors import UsageError, require
from mingpt.recurrent.layers import RecurrentConfig
from mingpt.text.tokenizers import Ids


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


@dataclass(frozen=True, kw_only=True)
class ModelConfig(RecurrentConfig, AttentionConfig):
    """Settings of a model.

    Attributes:
        type: the model family
        n_layer: blocks, or recurrent layers
        window_pattern: one letter per layer, repeated: w a layer with model.window, f one without; null: all have it
        norm: normalisation before each half-block
        mlp: the position-wise half of a block
        mlp_width: its width inside; null: 4 n_embd, or for swiglu 8/3 n_embd, which has as many weights
        conv_width: positions, its own included, that a short causal convolution mixes before each mlp; 1: none
        tie_embeddings: one table embeds tokens and reads them out, as in GPT-2
        init: how weights start; residual writers are the layers whose output is added to the residual stream
        embd_pdrop: dropout on the embeddings, probability
        order: tokens of an n-gram, the predicted one included
        vocab_size: tokens there are; the text's, where a command line makes the model
    """

    type: str = "gpt"
    n_layer: int = 4
    n_query_head: int = 2
    n_embd: int = 128
    window_pattern: str | None = None
    norm: str = "layernorm"
    mlp: str = "gelu_erf"
    mlp_width: int | None = None
    conv_width: int = 1
    tie_embeddings: bool = False
    init: str = "waves"
    embd_pdrop: float = 0.0
    order: int = 6
    vocab_size: int = 256

    def __post_init__(self) -> None:
        """The rules that hold in every family; each has its own as well (`LanguageModel.check`)."""
        for name in ("n_layer", "n_embd", "vocab_size"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "must be at least 1")
        require(self.block_size >= 1, "data.block_size", self.block_size, "must be at least 1")
        require(0 <= self.embd_pdrop < 1, "model.embd_pdrop", self.embd_pdrop, "must be in [0, 1)")

    def of_layer(self, number: int) -> "ModelConfig":
        """The settings of layer `number`, from 0: as these, but without the window where the pattern says so."""
        pattern = self.window_pattern or "w"
        full = pattern[number % len(pattern)] == "f"
        return replace(self, window=None, window_pattern=None) if full else self


TRAINED_TO_FILL = "--model.type=birnn --model.objective=masked"  # said to who asks another model to fill gaps
EVERYONE = frozenset(("type", "vocab_size", "block_size"))  # what every family reads of its settings


class LanguageModel(nn.Module):
    """Base of every family.

    `model(idx, targets=None, *, state=None) -> LMOutput` reads (b, t) token ids and predicts the next of each;
    `new_state(batch)` starts a memory of earlier tokens for step-by-step use.
    """

    config: ModelConfig
    reads: ClassVar[frozenset[str]]  # fields of ModelConfig, beside EVERYONE
    carries_state: ClassVar[bool] = False  # whether `new_state` gives a CarriedState, which training can go on from
    fits_by_counting: ClassVar[bool] = False  # whether it learns by `fit`, all at once, and not by gradients
    usual_share: ClassVar[float] = 0.36  # of the matrix rate, what a step reached on two cores (LOG.md, 2026-11-22)

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Refuse settings that no model of this family can be made of, and others' that differ from their defaults.

        Raises:
            UsageError: names the setting, its value and the broken rule.
        """
        for field in fields(ModelConfig):
            value = getattr(config, field.name)
            if field.name not in cls.reads | EVERYONE:
                by = ("model.type", config.type)
                require(value == field.default, f"model.{field.name}", value, "is not read by {}", by)

    @property
    def autoregressive(self) -> bool:
        """Whether no prediction depends on the token that it predicts, or on a later one."""
        return True

    @property
    def endless(self) -> bool:
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
