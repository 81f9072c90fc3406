"""Options of each command but `train` and `bench`: name, default, help and rule."""

from dataclasses import dataclass, fields

from mingpt.core.errors import require
from mingpt.core.paths import path_of, require_picture
from mingpt.core.system_config import DEVICES
from mingpt.core.variants import Variants, check_choices, choice
from mingpt.inference.sampling_config import COMPILE_RULE, Sampling

EXPORTED = ("float32", "bfloat16", "float16")  # what an exported folder's weights may be in
SPLITS = ("validation", "test")
CONTEXTS = ("block", "carried", "generation")  # of each token that `eval` scores
WITH_FILL = ("run", "device", "fill", "gap")  # the options of `sample` that infilling uses


class Checked:
    """Base of options that are combined: the end of the chain of __post_init__ calls."""

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class OfRun(Checked):
    """A trained model.

    Attributes:
        run: a run folder; null: the newest under out/ that has a checkpoint
    """

    run: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_names(run=self.run)


@dataclass(frozen=True, kw_only=True)
class OnDevice(Checked):
    """A device.

    Attributes:
        device: device to compute on
    """

    device: str = choice("auto", DEVICES)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, "")


@dataclass(frozen=True, kw_only=True)
class SampleOptions(Sampling, OfRun, OnDevice):
    """Generate text with a trained model.

    Attributes:
        prompt: text to continue; empty: as after the end of a line
        max_new_tokens: tokens to generate after it
        num_samples: texts to generate, each with a seed of its own
        seed: seed of the first text; each further text has the next one
        fill: text whose masked tokens are filled in, instead of generating: each with the likeliest token
        gap: the character that stands for a masked token in it
        stop_at_eos: end a text before the first token that ends one, of an imported model that has it (eos_token_id)
        stream: print each token as it is sampled
        cache: keep keys and values of earlier tokens; False: recompute them for every token, for the same text as with
            the cache and past_block=exact
        compile: compile the step of one token, half a minute the first time: the same text to rounding, for long ones
    """

    prompt: str = ""
    max_new_tokens: int = 500
    num_samples: int = 1
    seed: int = 0
    fill: str | None = None
    gap: str = "_"
    stop_at_eos: bool = False
    stream: bool = True
    cache: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        OfRun.__post_init__(self)
        require(self.max_new_tokens >= 0, "max_new_tokens", self.max_new_tokens, "must be 0 or more")
        require(self.num_samples >= 1, "num_samples", self.num_samples, "must be at least 1")
        for name, value in vars(self).items() if self.fill is not None else ():
            usable = name in WITH_FILL or value == getattr(type(self), name)
            require(usable, name, value, "has no effect with fill")
        require(self.cache or not self.compile, "compile", self.compile, COMPILE_RULE)
        self.sampling(self.num_samples - 1).past_block_with(self.cache)
        require(self.fill is not None or self.gap == type(self).gap, "gap", repr(self.gap), "needs fill")

    def sampling(self, number: int) -> Sampling:
        """Return how text `number`, from 0, is sampled."""
        how = {each.name: getattr(self, each.name) for each in fields(Sampling)}
        return Sampling(**{**how, "seed": self.seed + number})


@dataclass(frozen=True, kw_only=True)
class EvalOptions(OfRun, OnDevice):
    """Evaluate a trained model on text that it never saw: validation loss, or pseudo-likelihood of one that infills.

    Attributes:
        text: a UTF-8 file, all of which is scored; null: the run's own validation set
        split: the set of the run's own text that is scored
        context: the tokens that each scored token follows; block: those before it in its block of block_size tokens, or
            in its window with stride; carried: all before it, by the state of a recurrent model kept from block to
            block; generation: of tokens past block_size those that sampling gives them, from half a block to a whole
            one with past_block=half, a whole one with exact
        stride: windows of block_size tokens begin every so many tokens, and each token is scored in the first that has
            it, so that at least block_size - stride tokens precede it; null: block_size, blocks that don't overlap
        tokens: also write the log-probability of each token to this file, as JSON Lines
    """

    text: str | None = None
    split: str = choice("validation", SPLITS)
    context: str = choice("block", CONTEXTS)
    stride: int | None = None
    tokens: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_names(text=self.text, tokens=self.tokens)
        require(self.stride is None or self.stride >= 1, "stride", self.stride, "must be at least 1, or null")
        rule, context = "has no effect with {}", ("context", self.context)
        require(self.stride is None or self.context == "block", "stride", self.stride, rule, context)
        require(self.tokens is None or self.context != "generation", "tokens", self.tokens, rule, context)
        whole = "has no effect with text, all of which is scored"
        require(self.text is None or self.split == "validation", "split", self.split, whole)


@dataclass(frozen=True, kw_only=True)
class AttentionOptions(OfRun, OnDevice):
    """Plot the attention pattern of every head of a trained model on a text.

    Attributes:
        text: input text, at most block_size tokens; null: the beginning of the run's own validation set
        out: the picture to write; null: attention.png in the run folder
        layer: the only layer to plot, from 0; null: all
    """

    text: str | None = None
    out: str | None = None
    layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_picture(self.out)


@dataclass(frozen=True, kw_only=True)
class CausalityOptions(OfRun, OnDevice):
    """Check that no prediction of a trained model depends on future tokens, and plot the dependency map.

    Attributes:
        text: input text, at most block_size tokens; null: the beginning of the run's own validation set
        out: the picture to write; null: causality.png in the run folder
    """

    text: str | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_picture(self.out)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Tokenize a text of any size once, into a folder that training then reads.

    Attributes:
        out: the folder to make; there must be none of that name
    """

    out: str | None = None

    def __post_init__(self) -> None:
        _require_names(out=self.out)
        require(
            self.out is not None and "\0" not in self.out,
            "out",
            self.out or "null",
            "must name the folder to make, as --out=FOLDER",
        )


@dataclass(frozen=True, kw_only=True)
class SelftestOptions(OnDevice):
    """Check every attention kernel against the definition on this machine.

    Attributes:
        kernel: the only one to check, as model.kernel names it; null: all
        every: check one layer in so many; for flex, which compiles for ten seconds or more a layer
    """

    kernel: str | None = choice(None, Variants("mingpt.models.attention.kernels:KERNELS"))
    every: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.every >= 1, "every", self.every, "must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OfRun):
    """Write a trained model as a folder that Hugging Face's transformers loads, and compare the two.

    Attributes:
        out: the folder to write, new or empty
        dtype: type of the weights; the last two round them
    """

    out: str = ""
    dtype: str = choice("float32", EXPORTED)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.out != "" and "\0" not in self.out,
            "out",
            repr(self.out),
            "must name a folder to write, as --out=FOLDER",
        )
        check_choices(self, "")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Make a run of a folder of Hugging Face's: GPT-2, GPT-Neo, Llama, Mistral, Qwen2, Qwen3 or Starcoder2.

    Attributes:
        out: the run folder to make; null: out/ and the folder's name
        block_size: tokens that the model sees at once; null: what the folder says, of rotary positions at most 1024
    """

    out: str | None = None
    block_size: int | None = None

    def __post_init__(self) -> None:
        _require_names(out=self.out)
        size = self.block_size
        require(size is None or size >= 1, "block_size", size, "must be at least 1, or null")


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """Check any language model before its scores are believed.

    Attributes:
        vocab_size: number of token ids; null: vocab_size of the model or of its config
        block_size: trained length in tokens; null: block_size of the model or of its config
        text: a UTF-8 file that the tokenizer must give back, or that a file of log-probabilities must be of
        trust: run code of a Hugging Face folder, and load pickles; False: safetensors alone
        thorough: try every length and position that ten minutes have room for, not one minute
        json: print the report as one line of JSON, and nothing else
    """

    vocab_size: int | None = None
    block_size: int | None = None
    text: str | None = None
    trust: bool = False
    thorough: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        _require_names(text=self.text)
        for name, size, least in (("vocab_size", self.vocab_size, 2), ("block_size", self.block_size, 2)):
            require(size is None or size >= least, name, size, f"must be at least {least}, or null")


def _require_names(**names: str | None) -> None:
    for field, name in names.items():
        require(name != "", field, "''", "must name a file or folder, or be null")


def _require_picture(out: str | None) -> None:
    _require_names(out=out)
    if out is not None:
        require_picture(path_of(out))
