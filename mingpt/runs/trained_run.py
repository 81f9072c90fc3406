"""A trained model with all that belongs to it: what one may ask of a run."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mingpt.core.atomic_io import open_atomic
from mingpt.core.errors import CheckpointError, DataError, UsageError, require
from mingpt.core.paths import path_of, shown
from mingpt.core.run_files.reading import Record, last_line, read_losses
from mingpt.core.token_ids import Ids, Tokenizer
from mingpt.data.special_tokens import SpecialTokens
from mingpt.data.tokenizer_base import shown as token_name
from mingpt.inference import token_log
from mingpt.inference.causality import dependency_map
from mingpt.inference.evaluate import PseudoLikelihood, ValidationLoss, pseudo_likelihood, validation_loss
from mingpt.inference.generate import Sampling, fill, stream
from mingpt.inference.past_block import PastBlockLoss, past_block_loss
from mingpt.models.attention.attention_maps import attention_weights
from mingpt.models.base import LanguageModel
from mingpt.models.config import GPTConfig
from mingpt.report import heatmaps, loss_plot
from mingpt.runs import notebook_repr, run_dir, scored_text
from mingpt.runs.config import Config
from mingpt.trainer import Progress

PSEUDO_TOKENS = 16384  # hidden one at a time, each at the cost of a pass over its block
PAST_BLOCK_TOKENS = 16384  # scored past the block, each at the same cost
CONTEXTS = ("block", "carried")  # of each scored token
EXCERPT = 32  # tokens: as many as a picture has room for


@dataclass(repr=False)
class Run:
    """A trained model with all that belongs to it.

    Attributes:
        folder: the run folder.
        config: settings of the run; its group `model` has the sizes of `model`.
        model: the trained model.
        tokenizer: tokenizer of its text.
        progress: steps, tokens and times so far.
        stopped: the signal that ended training early; None: it finished.
        special: the special tokens of an imported model, and of those trained from it.
        spent: seconds by name that the process which trained it took, for its steps and all else; {} of one loaded.
    """

    folder: Path
    config: Config
    model: LanguageModel
    tokenizer: Tokenizer
    progress: Progress
    stopped: str | None = None
    special: SpecialTokens = field(default_factory=SpecialTokens)
    spent: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return notebook_repr.line(self.folder, self._facts())

    def _repr_html_(self) -> str:
        return notebook_repr.table(self.folder, self._facts(), self.config.not_default())

    def _facts(self) -> dict[str, str]:
        return notebook_repr.facts(self.folder, self.model, self.progress.step, self.config.trainer.max_iters)

    def history(self) -> Any:
        """Return every step's record, as metrics.jsonl has it: step, tokens, seconds, train_loss, lr, ...

        A pandas DataFrame, one row a step, where pandas is installed; else a dict of arrays.  NaN where a step has no
        such number, as `val_loss_part` between two evaluations.

        Raises:
            CheckpointError: metrics.jsonl is missing, as in an imported run, or damaged.
        """
        return notebook_repr.as_table(notebook_repr.columns(self.folder / "metrics.jsonl"))

    def plot(self) -> Any:
        """Return loss.png as a matplotlib Figure: the loss by step, and what n-gram models reach.  Notebooks show it.

        Raises:
            CheckpointError: metrics.jsonl is missing, as in an imported run, or damaged.
        """
        self.last_record()
        return loss_plot.figure(self.folder)

    def plot_attention(self, text: str, layer: int | None = None) -> Any:
        """Return `attention(text)` as a matplotlib Figure, all of it or one layer, from 0: a square a head.

        Raises:
            UsageError: as `attention`; no such layer.
        """
        maps, model = self.attention(text), self.model.config
        assert isinstance(model, GPTConfig)  # else there would be no attention
        require(layer is None or 0 <= layer < len(maps), "layer", layer, f"must be 0 to {len(maps) - 1}, or null")
        first, last = (0, len(maps)) if layer is None else (layer, layer + 1)
        return heatmaps.figure(
            [weights[0].float().cpu().numpy() for weights in maps[first:last]],
            [token_name(self.tokenizer, int(token)) for token in self.tokenizer.encode(text)],
            model.key_heads,
            [model.of_layer(number).window for number in range(first, last)],
            first_layer=first,
        )

    def generate(
        self, prompt: str = "", max_new_tokens: int = 200, *, stop_at_eos: bool = False, **sampling: Any
    ) -> str:
        """Return the prompt and `max_new_tokens` tokens after it.

        Args:
            stop_at_eos: end before the first token that ends a text (`special.ids["eos_token_id"]`).
            sampling: fields of `Sampling`: temperature, top_k, top_p, min_p, seed, past_block.

        Raises:
            UsageError: a character outside the vocabulary, a broken rule of sampling, a model that can't generate,
                no token that ends a text.
        """
        return prompt + "".join(self.stream(prompt, max_new_tokens, Sampling(**sampling), stop_at_eos=stop_at_eos))

    def stream(
        self,
        prompt: str,
        max_new_tokens: int,
        sampling: Sampling,
        *,
        cache: bool = True,
        compile: bool = False,
        stop_at_eos: bool = False,
    ) -> Iterator[str]:
        """What follows the prompt, token by token; see `generate` and `mingpt.inference.generate.stream`."""
        scored_text.encoded(prompt, self.tokenizer, "prompt")
        ends = self.special.ids.get("eos_token_id", []) if stop_at_eos else []
        rule = f"{shown(self.folder)} has no token that ends a text; imported models have one (eos_token_id)"
        require(bool(ends) or not stop_at_eos, "stop_at_eos", stop_at_eos, rule)
        how: dict[str, Any] = {"cache": cache, "compile": compile, "stop": ends}
        return stream(self.model, self.tokenizer, prompt, max_new_tokens, sampling, **how)

    def fill(self, text: str, gap: str = "_") -> str:
        """Return `text` with each `gap` replaced by its likeliest token; see `mingpt.inference.generate.fill`.

        Raises:
            UsageError: no masked token, too long a text, characters outside the vocabulary, a model that can't infill.
        """
        scored_text.encoded(text.replace(gap, "") if gap else "", self.tokenizer, "fill")
        return fill(self.model, self.tokenizer, text, gap)

    def encode_block(self, text: str) -> Tensor:
        """Return (1, t) ids of a text no longer than a block, where the model is.

        Raises:
            UsageError: no text, more than block_size tokens of it, or characters outside the vocabulary.
        """
        ids = torch.from_numpy(scored_text.encoded(text, self.tokenizer, "text").astype("int64"))[None]
        size = self.model.config.block_size
        excerpt = text if len(text) <= 40 else f"{text[:40]}..."
        require(1 <= ids.shape[1] <= size, "text", repr(excerpt), f"must be 1 to {size} tokens, not {ids.shape[1]}")
        return ids.to(self.model.device)

    def attention(self, text: str) -> list[Tensor]:
        """Attention pattern: for each layer its (1, heads, queries, keys) weights on `text`, dropout off.

        The definition's, whatever kernel the layers use; a list as bertviz takes it.

        Raises:
            UsageError: no text, more than block_size tokens of it, characters outside the vocabulary, or no attention.
        """
        maps = attention_weights(self.model, self.encode_block(text))
        if not maps:
            raise UsageError(
                f"{type(self.model).__name__} has no attention to show; `chargpt causality` shows what it reads"
            )
        return maps

    def dependency_map(self, text: str) -> Tensor:
        """Which inputs move which outputs: (t, t), rows outputs, columns inputs; see `mingpt.inference.causality`.

        Raises:
            UsageError: fewer than 2 tokens, more than block_size, or characters outside the vocabulary.
        """
        ids = self.encode_block(text)
        require(ids.shape[1] >= 2, "text", repr(text), "must be at least 2 tokens: one alone has none after it")
        return dependency_map(self.model, ids)

    def evaluate(
        self,
        path: str | None = None,
        *,
        split: str = "validation",
        context: str = "block",
        stride: int | None = None,
        tokens: str | Path | None = None,
    ) -> ValidationLoss:
        """Return the loss over the run's own validation set, or over all of the file at `path`.

        Args:
            split: the set of the run's own text: validation, or test
            context: block: each block of block_size tokens starts without context; carried: with the state after the
                one before, of a model that has one (recurrent ones, n-gram ones, a GPT with windows in every layer)
            stride: windows of block_size tokens begin every so many tokens, and each token is scored in the first
                that has it, with at least block_size - stride tokens of context; None: block_size
            tokens: file to write each token's log-probability to (`mingpt.inference.token_log`)

        Raises:
            UsageError: the model sees what it predicts; settings that it can't honour; the run has no such set.
            DataError: no such text, one with unknown characters, or no longer the one that the run began with.
        """
        require(context in CONTEXTS, "context", context, f"must be one of {', '.join(CONTEXTS)}")
        how: dict[str, Any] = {"stride": stride, "carried": context == "carried", "by_token": tokens is not None}
        require(stride is None or not how["carried"], "stride", stride, "has no effect with {}", ("context", context))
        with open_atomic(path_of(tokens)) if tokens is not None else nullcontext() as file:
            ids = self._scored_ids(path, split)
            if len(ids) < 2:
                name = scored_text.name_of(self.folder, path)
                raise DataError(f"{name}: one token has no next one to predict; at least 2 are needed")
            loss = validation_loss(self.model, ids, self.tokenizer, **how)
            if file is not None:
                facts = {"run": str(self.folder), "split": split if path is None else None, "text": path}
                token_log.write(file, loss, ids, self.tokenizer, **facts, context=context, stride=stride)
        return loss

    def past_block_loss(
        self, path: str | None = None, *, split: str = "validation", at_most: int | None = PAST_BLOCK_TOKENS
    ) -> PastBlockLoss:
        """What tokens past block_size lose by a shorter context, on the texts of `evaluate`.

        See `mingpt.inference.past_block`.

        Args:
            at_most: tokens to score; None: every one.

        Raises:
            UsageError: a model that is not autoregressive, or one whose state has no end.
            DataError: as `evaluate`, or too short a text.
        """
        return past_block_loss(self.model, self._scored_ids(path, split), at_most=at_most)

    def pseudo_likelihood(
        self, path: str | None = None, *, split: str = "validation", at_most: int | None = PSEUDO_TOKENS
    ) -> PseudoLikelihood:
        """How well each token is predicted from those around it, on the texts of `evaluate`; no loss, no perplexity.

        Args:
            at_most: tokens to hide, spread evenly; None: every one.

        Raises:
            UsageError: the model does not infill.
            DataError: as `evaluate`, but one token is enough.
        """
        ids = self._scored_ids(path, split)
        if not len(ids):
            raise DataError(f"{scored_text.name_of(self.folder, path)}: has no token to hide; at least 1 is needed")
        return pseudo_likelihood(self.model, ids, self.tokenizer, at_most=at_most)

    def validation_ids(self) -> Ids:
        """Return the token ids of the run's own validation set.

        Raises:
            DataError: that text is gone or changed.
        """
        return self._scored_ids(None, "validation")

    def excerpt(self, tokens: int = EXCERPT) -> str:
        """The beginning of the run's own validation text: at most so many tokens, and no more than a block.

        Raises:
            DataError: that text is gone or changed.
        """
        return scored_text.beginning(self.validation_ids(), self.tokenizer, min(tokens, self.model.config.block_size))

    def _scored_ids(self, path: str | None, split: str) -> Ids:
        return scored_text.scored_ids(self.folder, self.config.data, self.tokenizer, path, split)

    def last_record(self) -> Record:
        """The last line of metrics.jsonl.

        Raises:
            CheckpointError: there is none.
        """
        last = last_line(self.folder / "metrics.jsonl")
        if last is None:
            raise CheckpointError(f"{shown(self.folder / 'metrics.jsonl')}: missing, or it holds no step")
        return last

    def prompts(self) -> list[str]:
        """What its samples begin with, one at least; `[""]` of a run from before these were kept, or imported.

        Raises:
            CheckpointError: environment.json is missing or damaged.
        """
        return list(self.config.sample.prompts or run_dir.stored_prompts(self.folder) or [""])

    def baselines(self) -> dict[str, float]:
        """n-gram losses of this run's text, in nats per token."""
        return read_losses(self.folder / "baselines.json")
