"""Settings of each model family, torch-free: every field with its default, its unit and its rule in one class.

`model.type` chooses the class from CONFIGS, which takes no other family's settings: `ModelConfig(type="rnn",
cell="gru")` is an RNNConfig.  A wrong value raises UsageError at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from mingpt.core.errors import UsageError, require
from mingpt.core.registry import Registry
from mingpt.core.setting_names import did_you_mean_setting
from mingpt.core.variants import Variants, check_choices, choice
from mingpt.models.attention.config import AttentionConfig

NORMS = Variants("mingpt.models.norms:NORMS")
MLPS = Variants("mingpt.models.mlp:MLPS")
INITS = Variants("mingpt.models.init:INITS")
CELLS = Variants("mingpt.models.recurrent.cells:CELLS")
READOUTS = Variants("mingpt.models.rnn:READOUTS")
READINGS = Variants("mingpt.models.recurrent.layers:READINGS")
OBJECTIVES = Variants("mingpt.models.rnn:OBJECTIVES")
CONFIGS: Registry[type["ModelConfig"]] = Registry("model.type")
LONGEST = 8  # tokens of an n-gram; beyond it, a text of this project's size holds few twice
# Settings that leave the function which a model's weights compute as it is.
NOT_OF_THE_FUNCTION = frozenset(
    ("block_size", "kernel", "init", "embd_pdrop", "resid_pdrop", "attn_pdrop", "pretrained_folder")
)


@dataclass(frozen=True, kw_only=True, init=False)
class ModelConfig:
    """Settings that every family has; called itself, it makes the config of the family `type`.

    Attributes:
        type: the model family
        block_size: tokens seen at once
        vocab_size: tokens there are; the text's, where a command line makes the model
    """

    count_based: ClassVar[bool] = False  # learns by `fit`, in one pass over the text, not by gradients
    supports_tbptt: ClassVar[bool] = False  # training can continue from its recurrent state (truncated BPTT)

    type: str = choice("gpt", CONFIGS)
    block_size: int = 128
    vocab_size: int = 256

    def __new__(cls, **settings: Any) -> "ModelConfig":
        if cls is ModelConfig:
            cls = CONFIGS[settings.get("type", "gpt")]
        own = [field.name for field in fields(cls)]
        for name in settings:
            if name not in own:
                having = [key for key in CONFIGS if name in {field.name for field in fields(CONFIGS[key])}]
                hint = "" if having else did_you_mean_setting(name, own)
                raise UsageError(f"model.{name}: {no_setting_of(settings.get('type', cls.type), having)}{hint}")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        check_choices(self, "model")
        own = CONFIGS[self.type]
        require(isinstance(self, own), "model.type", self.type, f"needs {own.__name__}, not {type(self).__name__}")
        require(self.block_size >= 1, "data.block_size", self.block_size, "must be at least 1")
        require(self.vocab_size >= 1, "model.vocab_size", self.vocab_size, "must be at least 1")

    def spelled_out(self) -> dict[str, Any]:
        """Return every setting by its name, with what others imply in the place of null."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def notes(self) -> list[str]:
        """Return a sentence for each valid setting that has no effect in training."""
        return []


@dataclass(frozen=True, kw_only=True)
class NeuralConfig(ModelConfig):
    """Settings of families that are trained by gradients.

    Attributes:
        n_layer: transformer blocks, or recurrent layers
        n_embd: width of the embeddings and of the vectors that layers pass on
        embd_pdrop: dropout on the embeddings, probability
        resid_pdrop: dropout on what is added to the residual stream, or passed between recurrent layers, probability
        pretrained_folder: a run folder whose newest weights to start from, with a fresh optimizer; null: none
    """

    n_layer: int = 4
    n_embd: int = 128
    embd_pdrop: float = 0.0
    resid_pdrop: float = 0.0
    pretrained_folder: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_layer", "n_embd"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "must be at least 1")
        for name in ("embd_pdrop", "resid_pdrop"):
            require(0 <= getattr(self, name) < 1, f"model.{name}", getattr(self, name), "must be in [0, 1)")
        require(self.pretrained_folder != "", "model.pretrained_folder", "''", "must name a run folder, or be null")


# Two bases: an attention layer is also made by itself (selftest, benchmarks, tests), from an AttentionConfig that has
# its settings and rules alone.  n_embd and n_query_head, which have no default there, have one here.
@CONFIGS.add("gpt")
@dataclass(frozen=True, kw_only=True)
class GPTConfig(AttentionConfig, NeuralConfig):
    """Settings of a decoder-only Transformer.

    Attributes:
        window_pattern: one letter per layer, repeated: w a layer with model.window, f one without; null: all have it
        norm: normalisation before each half-block
        mlp: the position-wise half of a block
        mlp_width: width inside the MLP; null: 4 n_embd, or for swiglu 8/3 n_embd, which has as many weights
        conv_width: positions, its own included, that a short causal convolution mixes before each mlp; 1: none
        tie_embeddings: one table embeds tokens and reads them out, as in GPT-2
        init: how weights start; residual writers are the layers whose output is added to the residual stream
    """

    n_embd: int = 128
    n_query_head: int = 2
    window_pattern: str | None = None
    norm: str = choice("layernorm", NORMS)
    mlp: str = choice("gelu_erf", MLPS)
    mlp_width: int | None = None
    conv_width: int = 1
    tie_embeddings: bool = False
    init: str = choice("waves", INITS)

    def __post_init__(self) -> None:
        NeuralConfig.__post_init__(self)
        AttentionConfig.__post_init__(self)
        pattern, inner, wide = self.window_pattern, self.mlp_width, self.conv_width
        letters = pattern is None or (bool(pattern) and set(pattern) <= set("wf"))
        require(letters, "model.window_pattern", pattern or "''", "must be letters w and f, or null")
        rule = "names the layers with model.window, but that is null"
        require(pattern is None or self.window is not None, "model.window_pattern", pattern, rule)
        require(inner is None or inner >= 1, "model.mlp_width", inner, "must be at least 1, or null")
        require(wide >= 1, "model.conv_width", wide, "must be at least 1, the position itself")

    def of_layer(self, number: int) -> "GPTConfig":
        """Return the settings of layer `number`, from 0: without the window where the pattern has f."""
        pattern = self.window_pattern or "w"
        full = pattern[number % len(pattern)] == "f"
        return replace(self, window=None, window_pattern=None) if full else self

    def spelled_out(self) -> dict[str, Any]:
        code = self.positional_encoding
        return {**super().spelled_out(), "n_kv_head": self.key_heads, "position": code, "rope": code == "rope"}

    def notes(self) -> list[str]:
        block, found = self.block_size, []
        if self.window is not None and self.window >= block:
            found.append(
                f"model.window={self.window} covers all of the block (data.block_size={block}): in training it is "
                "full attention, as with model.window=null"
            )
        if self.conv_width > block:
            found.append(
                f"model.conv_width={self.conv_width} is wider than data.block_size={block}: what reaches beyond the "
                "block has no effect"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(NeuralConfig):
    """Settings of recurrent families.

    Attributes:
        cell: what a recurrent layer does in one step
    """

    cell: str = choice("elman", CELLS)

    def __post_init__(self) -> None:
        super().__post_init__()
        rule, layers = "is applied between layers, and {} has none", ("model.n_layer", self.n_layer)
        require(self.resid_pdrop == 0 or self.n_layer > 1, "model.resid_pdrop", self.resid_pdrop, rule, layers)


@CONFIGS.add("rnn")
@dataclass(frozen=True, kw_only=True)
class RNNConfig(RecurrentConfig):
    """Settings of a recurrent model that reads from left to right.

    Attributes:
        readout: what the logits are: linear: of the last layer's features; literal: those features themselves
    """

    supports_tbptt = True

    type: str = choice("rnn", CONFIGS)
    readout: str = choice("linear", READOUTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        can = CELLS[self.cell].reads_out or not READOUTS[self.readout].as_logits
        rule = "needs a cell with an output layer of its own, which {} has not"
        require(can, "model.readout", self.readout, rule, ("model.cell", self.cell))


@CONFIGS.add("birnn")
@dataclass(frozen=True, kw_only=True)
class BiRNNConfig(RecurrentConfig):
    """Settings of a recurrent model that reads from both ends.

    Attributes:
        reading: what the model reads for one prediction: full: all of the text, so that it sees the answer, too;
            prefix: what came before, again for every position
        objective: what the model learns with reading=full: next: the next token, which it sees; masked: hidden tokens
    """

    type: str = choice("birnn", CONFIGS)
    reading: str = choice("full", READINGS)
    objective: str = choice("next", OBJECTIVES)

    def __post_init__(self) -> None:
        super().__post_init__()
        sees = not (OBJECTIVES[self.objective].masked and READINGS[self.reading].autoregressive)
        rule = "hides tokens that {} doesn't look at"
        require(sees, "model.objective", self.objective, rule, ("model.reading", self.reading))


@CONFIGS.add("ngram")
@dataclass(frozen=True, kw_only=True)
class NGramConfig(ModelConfig):
    """Settings of an n-gram model.

    Attributes:
        order: tokens of an n-gram, the predicted one included
    """

    count_based = True

    type: str = choice("ngram", CONFIGS)
    order: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.order <= LONGEST, "model.order", self.order, f"must be in [1, {LONGEST}]")


ModelSettings = ModelConfig  # its earlier name


def no_setting_of(family: str, having: Sequence[str]) -> str:
    """Return that `family` has no such setting, and the families `having` one."""
    return f"no setting of model.type={family}" + (f"; it belongs to {', '.join(having)}" if having else "")
