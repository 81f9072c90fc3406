"""What text a run reads, how it is cut, and what its samples begin with: settings, which need no NumPy."""

from dataclasses import dataclass

from mingpt.core.errors import require
from mingpt.core.variants import Variants, choice

TOKENIZERS = Variants("mingpt.data.tokenizers:TOKENIZERS")
BYTES = 256
VOCAB_SIZE = 1024  # of a tokenizer that learns its vocabulary
FILE_NAME = ".json"  # how the name of a ready-made tokenizer ends
LARGEST = 1_000_000  # tokens of a vocabulary


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What text, and how it is cut.

    Attributes:
        path: a UTF-8 file, several (`a.txt,b.txt`), a folder, a pattern (`texts/**/*.txt`), `-` for standard input, or
            what `chargpt prepare` made; `input.txt`: written, where missing, as Shakespeare's plays;
            `tinyshakespeare`, `text8`, `enwik8`: downloaded once; the last two with their published split
        tokenizer: how text becomes ids; or the path of a tokenizer.json, as the tokenizers library or a run saved it
        vocab_size: tokens at most of a tokenizer that learns them from the text
        block_size: tokens that a model sees at once
        val_fraction: part of the text for the validation set, taken from its end
        test_fraction: part for the test set, taken from the end, after the validation set; no training run evaluates
            it, `chargpt eval --split=test` does
        stateful: blocks follow one another in the text and the model goes on from the state that the last one left;
            gradients stop at a block's edge (truncated back-propagation through time); for recurrent models;
            val_loss still starts each block from nothing, val_loss_carried does not
    """

    path: str = "input.txt"
    tokenizer: str = choice("char", TOKENIZERS, others=True)
    vocab_size: int = VOCAB_SIZE
    block_size: int = 128
    val_fraction: float = 0.1
    test_fraction: float = 0.0
    stateful: bool = False

    def __post_init__(self) -> None:
        require(self.path != "", "data.path", "''", "must name a text file")
        ready_made = self.tokenizer.endswith(FILE_NAME)
        if ready_made or not TOKENIZERS[self.tokenizer].learns:
            usual, by = self.vocab_size == VOCAB_SIZE, ("data.tokenizer", self.tokenizer)
            require(usual, "data.vocab_size", self.vocab_size, "has no effect with {}", by)
        require(BYTES <= self.vocab_size <= LARGEST, "data.vocab_size", self.vocab_size, f"must be in [256, {LARGEST}]")
        require(self.block_size >= 1, "data.block_size", self.block_size, "must be at least 1")
        require(0 < self.val_fraction < 1, "data.val_fraction", self.val_fraction, "must be between 0 and 1")
        require(
            0 <= self.test_fraction < 1, "data.test_fraction", self.test_fraction, "must be 0 (none) or less than 1"
        )
        both = self.val_fraction + self.test_fraction
        rule = "must leave text to train on: less than 1 with {}"
        require(both < 1, "data.test_fraction", self.test_fraction, rule, ("data.val_fraction", self.val_fraction))


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """The text that a run samples from its model, after trainer.sample_every steps and at the end.

    Attributes:
        prompts: what samples begin with: a text, or several as a JSON list, ["To be", "Or not"]; null: the three
            commonest beginnings of paragraphs in the training text, or, of a run that is resumed, what it began with
        tokens: tokens that follow each prompt after the last step; before it, at most 64 follow the first alone
    """

    prompts: tuple[str, ...] | None = None
    tokens: int = 300

    def __post_init__(self) -> None:
        given = self.prompts is None or (len(self.prompts) > 0 and not isinstance(self.prompts, str))
        require(given, "sample.prompts", self.prompts, "must be a list of one text or more, or null")
        require(self.tokens >= 1, "sample.tokens", self.tokens, "must be at least 1")
