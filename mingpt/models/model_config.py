"""Settings of a model, and what each family reads of them and asks of them; checked before a model's code is loaded.

A family is a class of `Rules` here, inherited by its model where that is defined (`model.py`, `rnn.py`, `ngram.py`).
"""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

from mingpt.core.errors import require
from mingpt.core.registry import Registry
from mingpt.core.variants import Variants
from mingpt.models.attention.config import AttentionConfig
from mingpt.models.recurrent.config import CELLS, OBJECTIVES, READINGS, READOUTS, RecurrentConfig

NORMS = Variants("mingpt.models.norms:NORMS")
MLPS = Variants("mingpt.models.mlp:MLPS")
INITS = Variants("mingpt.models.init:INITS")
EVERYONE = frozenset(("type", "vocab_size", "block_size"))  # what every family reads of its settings
SIZES = ("n_layer", "n_embd", "embd_pdrop", "resid_pdrop", "cell")  # what both recurrent families read
LONGEST = 8  # tokens of a gram; beyond it, a text of this project's size holds few twice


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
        """The rules that hold in every family; each has its own as well (`Rules.check`)."""
        for name in ("n_layer", "n_embd", "vocab_size"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "must be at least 1")
        require(self.block_size >= 1, "data.block_size", self.block_size, "must be at least 1")
        require(0 <= self.embd_pdrop < 1, "model.embd_pdrop", self.embd_pdrop, "must be in [0, 1)")

    def of_layer(self, number: int) -> "ModelConfig":
        """The settings of layer `number`, from 0: as these, but without the window where the pattern says so."""
        pattern = self.window_pattern or "w"
        full = pattern[number % len(pattern)] == "f"
        return replace(self, window=None, window_pattern=None) if full else self


class Rules:
    """What a family reads of its settings, and asks of them."""

    reads: ClassVar[frozenset[str]]  # fields of ModelConfig, beside EVERYONE
    carries_state: ClassVar[bool] = (
        False  # whether training can go on from its state, as `lm.RecurrentStateLike` is one
    )
    fits_by_counting: ClassVar[bool] = False  # whether it learns by `fit`, all at once, and not by gradients

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


RULES: Registry[type[Rules]] = Registry("model.type")


@RULES.add("gpt")
class GPTRules(Rules):
    """Of a Transformer."""

    reads = frozenset(
        (
            *(field.name for field in fields(AttentionConfig)),
            *("n_layer", "window_pattern", "norm", "mlp", "mlp_width", "conv_width"),
            *("tie_embeddings", "init", "embd_pdrop"),
        )
    )

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        super().check(config)
        config.check_attention()
        pattern = config.window_pattern
        letters = pattern is None or (bool(pattern) and set(pattern) <= set("wf"))
        require(letters, "model.window_pattern", pattern or "''", "must be letters w and f, or null")
        require(
            pattern is None or config.window is not None,
            "model.window_pattern",
            pattern,
            "says which layers have model.window, but that is null",
        )
        inner = config.mlp_width
        require(inner is None or inner >= 1, "model.mlp_width", inner, "must be at least 1, or null")
        require(
            config.conv_width >= 1, "model.conv_width", config.conv_width, "must be at least 1, the position itself"
        )
        NORMS[config.norm], MLPS[config.mlp], INITS[config.init]


@RULES.add("rnn")
class RNNRules(Rules):
    """Of a recurrent model that reads from left to right."""

    reads = frozenset((*SIZES, "readout"))
    carries_state = True

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        super().check(config)
        _check_sizes(config)
        require(
            CELLS[config.cell].reads_out or not READOUTS[config.readout].as_logits,
            "model.readout",
            config.readout,
            "needs a cell with an output layer of its own, which {} has not",
            ("model.cell", config.cell),
        )


@RULES.add("birnn")
class BidirectionalRNNRules(Rules):
    """Of a recurrent model that reads from both ends."""

    reads = frozenset((*SIZES, "reading", "objective"))

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        super().check(config)
        _check_sizes(config)
        require(
            not (OBJECTIVES[config.objective].gaps and READINGS[config.reading].autoregressive),
            "model.objective",
            config.objective,
            "hides tokens that {} doesn't look at",
            ("model.reading", config.reading),
        )


@RULES.add("ngram")
class NGramRules(Rules):
    """Of a model of counts."""

    reads = frozenset(("order",))
    fits_by_counting = True

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        super().check(config)
        require(1 <= config.order <= LONGEST, "model.order", config.order, f"must be in [1, {LONGEST}]")


def _check_sizes(config: ModelConfig) -> None:
    require(0 <= config.resid_pdrop < 1, "model.resid_pdrop", config.resid_pdrop, "must be in [0, 1)")
    require(
        config.resid_pdrop == 0 or config.n_layer > 1,
        "model.resid_pdrop",
        config.resid_pdrop,
        "drops between layers, and {} has none",
        ("model.n_layer", config.n_layer),
    )
    CELLS[config.cell]
