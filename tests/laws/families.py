"""Every family of models and every variant of it that the laws are tried on.

A new entry of a registry is tried with no edit here; a new family needs a `Family` of its own, and
test_causality.py says so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mingpt.model import build
from mingpt.models.attention.masks import MASKS
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES
from mingpt.models.base import LanguageModel, ModelConfig
from mingpt.models.init import INITS
from mingpt.models.mlp import MLPS
from mingpt.models.norms import NORMS
from mingpt.models.recurrent.cells import CELLS
from mingpt.models.recurrent.layers import READINGS

Settings = dict[str, Any]
BLOCK, VOCABULARY = 7, 11
ALL = 10**6  # further back than any test looks


@dataclass(frozen=True)
class Family:
    """What the laws must know of a family.

    Attributes:
        variants: settings by name; their models are autoregressive.
        sizes: settings that all of them have.
        surely: model -> how many positions back an output surely reads, its own being 0; -1: perhaps not even that.
        at_most: model -> how many it reads at most.
        crops: whether it reads block_size tokens at most, so that older ones are forgotten.
        large: standard deviation that its parameters get, so that none hides behind a zero; None: as they start.
        gradients: whether it is trained by them.
        mark: settings -> nats below which one batch can be learned by heart.
        idle: settings -> ends of the names of parameters that can't matter; the empty tuple: all do.
    """

    variants: dict[str, Settings]
    sizes: Settings
    surely: Callable[[Any], int] = lambda model: 2
    at_most: Callable[[Any], int] = lambda model: ALL
    crops: bool = False
    large: float | None = None
    gradients: bool = True
    mark: Callable[[Settings], float] = lambda settings: 0.1
    idle: Callable[[Settings], tuple[str, ...]] = lambda settings: ()


def reach(model: Any) -> int:
    """How far back a logit of a GPT reads: in each layer by window and convolution, the own position left out."""
    widths = (width for block in model.blocks for width in (block.attention.mask.band, model.config.conv_width))
    return int(sum(min(width, BLOCK) - 1 for width in widths))


def idle_in_attention(settings: Settings) -> tuple[str, ...]:
    """A key's bias adds the same to all scores of a query where keys aren't turned, so softmax drops it."""
    concat = settings.get("score") == "linear_concat"  # and with it all that this score has of the query
    return ("k_proj.bias", *(("q_proj.weight", "q_proj.bias", "score.query") if concat else ()))


def idle_in_prefixes(settings: Settings) -> tuple[str, ...]:
    """Of the last layer only the last position is read, where the cell that goes backwards has made its first step.

    So it remembers nothing yet, unless it begins with something else than zeros.
    """
    return ("layers.1.backwards.recurrence.weight", "layers.1.backwards.rnn.weight_hh_l0")


def mark_of_rnn(settings: Settings) -> float:
    """Where logits are a cell's own features, what their range lets a loss reach: ln(e^a + (v-1) e^b) - a in (b, a)."""
    if settings.get("readout") != "literal":
        return 0.1
    low, high = {"elman": (0, 1), "elman_tanh": (-1, 1)}.get(settings["cell"], (-9, 9))
    floor = math.log(math.exp(high) + (VOCABULARY - 1) * math.exp(low)) - high
    return max(floor + 0.05, 0.3)


GPTS: dict[str, Settings] = {
    **{f"{p}-{g}of6": {"position": p, "n_kv_head": g} for p in POSITIONS for g in (6, 2, 1)},
    **{f"{s}-window={w}": {"score": s, "window": w, "n_kv_head": 2, "rope": True} for s in SCORES for w in (None, 3)},
    **{f"mask={name}": {"mask": name} for name, mask in ((m, MASKS[m]) for m in MASKS) if mask.causal},
    **{f"norm={name}": {"norm": name} for name in NORMS},
    **{f"mlp={name}": {"mlp": name} for name in MLPS},
    **{f"init={name}": {"init": name} for name in INITS},
    "window=block": {"window": BLOCK, "rope": True},
    "window_pattern": {"window": 2, "window_pattern": "wf"},
    "qk_norm": {"qk_norm": True, "rope": True},
    "scaled_rope": {"rope": True, "rope_base": 1e6, "rope_scaling": 8.0, "head_dim": 10},
    "widths": {"head_dim": 10, "mlp_width": 7, "rope": True, "rope_base": 30.0, "norm_eps": 0.1, "n_kv_head": 3},
    **{f"conv_width={w}": {"conv_width": w, "rope": True} for w in (2, 4, BLOCK + 3)},
    "conv_in_windows": {"conv_width": 3, "rope": True, "window": 2, "n_kv_head": 2},
    "no_bias": {"bias": False},
    "qkv_bias": {"bias": False, "qkv_bias": True},
    "one_layer": {"n_layer": 1},
    "one_head": {"n_query_head": 1, "rope": True},
}
GPT_SIZES = {"n_layer": 2, "n_query_head": 6, "n_embd": 24, "norm": "layernorm", "mlp": "gelu", "init": "gpt2"}
RNNS = {
    **{f"{cell}-{layers}": {"cell": cell, "n_layer": layers} for cell in CELLS for layers in (1, 2)},
    **{f"{cell}-literal": {"cell": cell, "readout": "literal"} for cell in CELLS if CELLS[cell].reads_out},
}
PREFIXES = {
    f"{reading}-{cell}": {"reading": reading, "cell": cell}
    for reading in READINGS
    if READINGS[reading].autoregressive
    for cell in CELLS
}

TABLE = {
    "gpt": Family(GPTS, GPT_SIZES, reach, reach, crops=True, large=0.4, idle=idle_in_attention),
    "rnn": Family(RNNS, {"n_layer": 2, "n_embd": 24}, mark=mark_of_rnn),
    "birnn": Family(PREFIXES, {"n_layer": 2, "n_embd": 24}, crops=True, idle=idle_in_prefixes),
    "ngram": Family(
        {f"order={n}": {"order": n} for n in (1, 2, 3, 6)},
        {},
        lambda model: min(model.config.order - 2, 0),
        lambda model: model.config.order - 2,
        gradients=False,
    ),
}
# Models that say that they see what they predict, and do: every law must be seen to fail for them.
CONTROLS: dict[str, tuple[str, Settings]] = {
    **{f"birnn-{cell}": ("birnn", {"reading": "full", "cell": cell}) for cell in CELLS},
    **{f"gpt-{name}": ("gpt", {"mask": name}) for name in MASKS if not MASKS[name].causal},
}


@dataclass(frozen=True)
class Variant:
    """One model of one family, as settings."""

    family: str
    settings: Settings

    @property
    def of(self) -> Family:
        return TABLE[self.family]

    def fresh(self, **changes: Any) -> LanguageModel:
        """As training would start it, in float32; by counting, it has counted some text."""
        sizes = {"block_size": BLOCK, "vocab_size": VOCABULARY, **self.of.sizes}
        torch.manual_seed(5)
        model = build(ModelConfig(**{"type": self.family, **sizes, **self.settings, **changes}))
        if model.config.count_based:
            model.fit(np.random.default_rng(5).integers(model.config.vocab_size, size=300))
        return model

    def exact(self, **changes: Any) -> LanguageModel:
        """The same in float64, its parameters large where the family stands it."""
        model = self.fresh(**changes).double().eval()
        with torch.no_grad():
            for parameter in model.parameters() if self.of.large else ():
                parameter.normal_(0, self.of.large)
        return model


VARIANTS = {f"{f}-{name}": Variant(f, s) for f, family in TABLE.items() for name, s in family.variants.items()}
TRAINED = {name: variant for name, variant in VARIANTS.items() if variant.of.gradients}
# What the quick suite tries of each family: both ends of what its layers are made of, and what they combine.
FEW = {
    *("gpt-none-6of6", "gpt-learned-1of6", "gpt-rope-2of6", "gpt-alibi-2of6"),
    *("gpt-multiplicative-window=None", "gpt-additive-window=3", "gpt-linear_concat-window=3"),
    *("gpt-norm=rmsnorm", "gpt-mlp=swiglu", "gpt-window_pattern", "gpt-widths", "gpt-conv_in_windows"),
    *("rnn-elman-2", "rnn-elman_tanh-literal", "rnn-gru-1", "rnn-lstm-2"),
    *("birnn-prefix-elman", "birnn-prefix-lstm", "ngram-order=1", "ngram-order=3"),
}
assert VARIANTS.keys() >= FEW


def _cases(variants: dict[str, Variant]) -> list[Any]:
    """The variants as parameters; the quick suite leaves out those that are not among the FEW."""
    return [
        pytest.param(variant, id=name, marks=() if name in FEW else pytest.mark.full)
        for name, variant in variants.items()
    ]


every_variant = pytest.mark.parametrize("variant", _cases(VARIANTS))
every_trained = pytest.mark.parametrize("variant", _cases(TRAINED))
every_control = pytest.mark.parametrize("control", [Variant(*c) for c in CONTROLS.values()], ids=CONTROLS)


def random_ids(batch: int = 3, length: int = BLOCK) -> Tensor:
    return torch.randint(VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(length))
