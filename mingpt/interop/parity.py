"""An exported folder compared with the run that it was made of: the same numbers by transformers' code and by ours.

The only module here that needs transformers, and it reads no other folder than one that was just written.
"""

import copy
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mingpt.core.errors import MingptError
from mingpt.data.bpe_tokenizer import LibraryTokenizer
from mingpt.inference.generate import LINE_END, Sampling, generate, spells
from mingpt.models.base import LanguageModel
from mingpt.models.config import GPTConfig
from mingpt.runs.trained_run import Run

ROWS, TOKENS, WRITTEN = 2, 512, 100  # of the comparison: texts, tokens of each where a block has them, tokens written
SMALL = 100_000_000  # parameters up to which it is repeated in float64
TOLERATED = 1e-4  # of the largest logit: in float64, too, as most of their classes turn and norm in float32


@dataclass(frozen=True)
class Parity:
    """What was found.

    Attributes:
        version: version of transformers.
        tokens: number of tokens of each text whose logits were compared.
        window: the widest window of a layer; None: there is none.
        worst: largest difference of a logit by precision, as `float32`.
        largest: largest logit of ours, for scale.
        written: tokens of greedy text that are the same, and how many were written.
        characters: number of characters of the text whose ids were compared; 0: none, as no text of random tokens has
            ids of ours.
    """

    version: str
    tokens: int
    window: int | None
    worst: dict[str, float]
    largest: float
    written: tuple[int, int]
    characters: int

    def __str__(self) -> str:
        reach = "no window" if self.window is None else f"window {self.window}"
        same, of = self.written
        text = f"the same {of} tokens" if same == of else f"the same for {same} of {of} tokens, then a near tie"
        ids = (
            f"the same ids for {self.characters} characters"
            if self.characters
            else "not compared: no text to try it on"
        )
        return "\n".join(
            (
                f"transformers {self.version}, {ROWS} texts of {self.tokens} random tokens, {reach}, "
                f"logits up to {self.largest:.3g}; largest difference of a logit",
                *(f"  {name}  {worst:.1e}" for name, worst in self.worst.items()),
                f"  greedy text: {text}",
                f"  tokenizer: {ids}",
            )
        )


def compare(run: Run, folder: Path, dtype: torch.dtype = torch.float32) -> Parity:
    """Load `folder` with transformers and compare it with `run`, whose weights are rounded to `dtype` first.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        MingptError: the two are not the same function, or not the same tokenizer.
    """
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    small = run.model.parameter_count <= SMALL
    tried = (torch.float32, torch.float64) if small else (torch.float32,)
    rounded = copy.deepcopy(run.model).cpu().to(dtype).eval()
    ids = _random_ids(rounded)
    worst, largest, written = {}, 0.0, (0, 0)
    for precision in tried:
        ours, theirs = rounded.to(precision), _loaded(transformers, folder, precision)
        with torch.no_grad():
            found, right = ours(ids).logits, theirs(ids, use_cache=False).logits
        largest, difference = right.abs().max().item(), (found - right).abs().max().item()
        if not difference <= TOLERATED * max(largest, 1.0) * max(ids.shape[1] / TOKENS, 1.0):
            raise MingptError(
                f"{folder}: computes something else than the run: logits differ by {difference:.2g} in {precision}"
            )
        worst[str(precision).removeprefix("torch.")] = difference
        if precision == torch.float32:
            written = _compare_texts(run, ours, theirs)
    characters = _compare_tokenizers(run, transformers, folder)
    assert isinstance(rounded.config, GPTConfig)  # else it wasn't exported
    windows = [rounded.config.of_layer(number).window for number in range(rounded.config.n_layer)]
    window = max((each for each in windows if each), default=None)
    return Parity(transformers.__version__, ids.shape[1], window, worst, largest, written, characters)


def _random_ids(model: LanguageModel) -> Tensor:
    """Of more tokens than the widest window, where a block has them."""
    config = model.config
    assert isinstance(config, GPTConfig)
    tokens = min(config.block_size, max(TOKENS, 2 * (config.window or 0)))
    return torch.randint(config.vocab_size, (ROWS, tokens), generator=torch.Generator().manual_seed(0))


def _loaded(transformers: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Their model; its kernel is the one that computes float64 in float64."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True, output_loading_info=True
    )
    wrong = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
    if wrong:
        raise MingptError(f"{folder}: transformers finds {wrong}")
    return model.eval()


def _compare_texts(run: Run, ours: LanguageModel, theirs: Any) -> tuple[int, int]:
    """How many tokens of greedy text are the same, and of how many; both write with their caches."""
    first = run.tokenizer.encode(LINE_END).tolist() if spells(run.tokenizer, LINE_END) else [0]
    start = torch.tensor([first])
    length = min(WRITTEN, ours.config.block_size - start.shape[1])
    if length < 1:
        return 0, 0
    found = torch.cat(list(generate(ours, start, length, Sampling(temperature=0)))).tolist()
    how: dict[str, Any] = {"do_sample": False, "max_new_tokens": length, "max_length": None, "eos_token_id": None}
    written = theirs.generate(start, attention_mask=torch.ones_like(start), pad_token_id=0, **how)
    right = written[0, start.shape[1] :].tolist()
    same = next((n for n, (a, b) in enumerate(zip(found, right, strict=True)) if a != b), length)
    if same < length:
        _require_a_tie(ours, torch.tensor([start[0].tolist() + found[:same]]), found[same], right[same])
    return same, length


def _require_a_tie(model: LanguageModel, ids: Tensor, one: int, other: int) -> None:
    with torch.no_grad():
        logits = model(ids).logits[0, -1]
    apart = (logits[one] - logits[other]).item()
    if apart > TOLERATED * max(logits.abs().max().item(), 1.0):
        raise MingptError(f"transformers writes another text: token {other} where ours is {one}, {apart:.2g} likelier")


def _compare_tokenizers(run: Run, transformers: Any, folder: Path) -> int:
    """How many characters were tried: of random tokens, as far as they are a text that both give back."""
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    drawn = _random_ids(run.model)[0].clamp(max=run.tokenizer.vocab_size - 1).tolist()
    text = run.tokenizer.decode(drawn)
    if not spells(run.tokenizer, text):
        return 0
    ids, right = run.tokenizer.encode(text).tolist(), theirs.encode(text, add_special_tokens=False)
    changed = theirs.decode(right) != text  # as where an imported one puts a space before a text and leaves it there
    if changed and isinstance(run.tokenizer, LibraryTokenizer):
        return 0
    if changed or right != ids:
        raise MingptError(f"{folder}: its tokenizer is another than the run's")
    return len(text)
