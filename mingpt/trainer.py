"""The training loop: batches in, updated weights out, one record a step.

It knows no model by name and writes no file.  Whoever wants to look, judge, draw, log or save registers an event: a
function of (trainer, record) called after every step, in order; each may add to the record.  Everything random in step
s follows from (seed, s), so an event can't change what is learned and a resumed run goes on as if nothing happened.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mingpt.errors import CheckpointError, NotFiniteError, require
from mingpt.lm import LanguageModel
from mingpt.optim import OPTIMIZERS, SCHEDULES, SLOTS, rate_at
from mingpt.utils import DEVICES, derived_seed, synchronise, training_type

Record = dict[str, Any]
Event = Callable[["Trainer", Record], None]
Say = Callable[[str], None]
COMPILE = ("auto", "always", "never")
# Settings that a choice leaves unread: refused where they differ from their defaults, instead of ignored.
UNREAD = {("optimizer", "adamw"): ("matrix_learning_rate",), ("schedule", "constant"): ("decay_from", "final_rate")}


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How a model is trained.

    Attributes:
        max_iters: optimizer steps
        batch_size: blocks per step
        accumulation: parts that a step's blocks are computed in, one after the other, to save memory
        optimizer: adamw on everything; muon on the matrices of the blocks and adamw on the rest
        learning_rate: AdamW's, at its peak
        matrix_learning_rate: Muon's, at its peak
        betas: AdamW's decay rates of the averages of gradient and squared gradient
        weight_decay: fraction (times the learning rate) of matrices and embeddings removed at each step
        grad_norm_clip: longest gradient, in L2 norm over all parameters; 0: any
        schedule: how the learning rate falls after warm-up
        warmup_iters: steps over which it first rises, linearly
        decay_from: fraction of max_iters after which it begins to fall
        final_rate: fraction of the peak that it falls towards
        device: where to train; auto: the first of cuda, mps, cpu that is there
        compile: torch.compile; auto: on cuda alone
        eval_every: steps between looks at held-out text; 0: at the end only
        eval_tokens: held-out tokens that such a look takes, spread evenly; the last look always takes every one
        sample_every: steps between samples of text; 0: at the end only
        save_every: steps between checkpoints; 0: at the end only
        resume: go on in system.work_dir (null: the newest run) from its newest checkpoint
        resume_changed: accept settings that differ from the ones that the run was started with
    """

    max_iters: int = 1000
    batch_size: int = 8
    accumulation: int = 1
    optimizer: str = "muon"
    learning_rate: float = 1e-2
    matrix_learning_rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    grad_norm_clip: float = 1.0
    schedule: str = "linear"
    warmup_iters: int = 0
    decay_from: float = 0.0
    final_rate: float = 0.0
    device: str = "auto"
    compile: str = "auto"
    eval_every: int = 100
    eval_tokens: int = 16384
    sample_every: int = 300
    save_every: int = 300
    resume: bool = False
    resume_changed: bool = False

    def __post_init__(self) -> None:
        def rule(holds: bool, name: str, text: str) -> None:
            require(holds, f"trainer.{name}", getattr(self, name), text)

        for name in ("max_iters", "batch_size", "accumulation", "eval_tokens"):
            rule(getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("warmup_iters", "eval_every", "sample_every", "save_every"):
            rule(getattr(self, name) >= 0, name, "must be 0 or more")
        for name in ("learning_rate", "matrix_learning_rate"):
            rule(math.isfinite(getattr(self, name)) and getattr(self, name) > 0, name, "must be finite and above 0")
        for name in ("weight_decay", "grad_norm_clip"):
            rule(math.isfinite(getattr(self, name)) and getattr(self, name) >= 0, name, "must be finite, 0 or more")
        rule(
            self.batch_size % self.accumulation == 0,
            "batch_size",
            f"must be a multiple of trainer.accumulation={self.accumulation}",
        )
        rule(len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "betas", "must be two numbers in [0, 1)")
        for name in ("decay_from", "final_rate"):
            rule(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]")
        rule(self.device in DEVICES, "device", f"must be one of {', '.join(DEVICES)}")
        rule(self.compile in COMPILE, "compile", f"must be one of {', '.join(COMPILE)}")
        OPTIMIZERS[self.optimizer], SCHEDULES[self.schedule]
        for (setting, choice), unread in UNREAD.items():
            for name in unread if getattr(self, setting) == choice else ():
                default = getattr(type(self), name)
                rule(getattr(self, name) == default, name, f"is not read by trainer.{setting}={choice}")


@dataclass
class Progress:
    """How far a run is: what a checkpoint carries besides tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # inside training steps only
    wall_seconds: float = 0.0


class Trainer:
    """Trains `model` on `batches`.

    Args:
        config: how.
        model: any LanguageModel, moved to `device`.
        batches: step -> (inputs, targets), both (b, t) int64, the same at every call.
        seed: of dropout.
        device: a torch.device.
        events: called as event(trainer, record) after every step.
        say: told, in one line, what a person should know.
    """

    def __init__(
        self,
        config: TrainerConfig,
        model: LanguageModel,
        batches: Callable[[int], tuple[Tensor, Tensor]],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        events: Sequence[Event] = (),
        say: Say = lambda line: None,
    ) -> None:
        self.config, self.batches, self.seed, self.events, self.say = config, batches, seed, list(events), say
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.optimizers = OPTIMIZERS[config.optimizer](
            self.model,
            lr=config.learning_rate,
            matrix_lr=config.matrix_learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        for group in self._groups():
            group["peak_lr"] = group["lr"]
        self.progress = Progress()
        self.stop_reason: str | None = None
        self._stopping = False
        self._forward = self._compiled() if _wanted(config.compile, self.device) else self.model

    def _compiled(self) -> Callable[..., Any]:
        """The model, compiled and tried once forward and backward; where that fails, the model itself."""
        compiled: Callable[..., Any] = torch.compile(self.model)
        part = self.config.batch_size // self.config.accumulation
        inputs, targets = (tensor[:part].to(self.device) for tensor in self.batches(0))
        try:
            self.model.train()
            with _autocast(self.device):
                compiled(inputs, targets).loss.backward()
            return compiled
        except Exception as error:  # a compiler may fail in any way; training needs none
            self.say(f"torch.compile failed ({type(error).__name__}); training goes on without it")
            return self.model
        finally:
            self.model.zero_grad()

    def run(self) -> None:
        """Train until max_iters, or until `stop` was called; then the last event has run for the last step.

        Raises:
            NotFiniteError: the loss or a gradient is not a number; the step's update was not made.
        """
        self.model.train()
        began = time.perf_counter() - self.progress.wall_seconds
        while not self.last:
            record = self.step()
            self._stopping = self.stop_reason is not None  # a signal from here on is for the next step
            self.progress.wall_seconds = time.perf_counter() - began
            record["wall_seconds"] = self.progress.wall_seconds
            for event in self.events:
                event(self, record)

    @property
    def finished(self) -> bool:
        return self.progress.step >= self.config.max_iters

    @property
    def last(self) -> bool:
        """Whether the step just made is the last of this call of `run`."""
        return self.finished or self._stopping

    def due(self, every: int) -> bool:
        """Whether something that happens every so many steps (0: at the end only) happens after the step just made."""
        return self.finished or (every > 0 and self.progress.step % every == 0)

    def stop(self, reason: str) -> None:
        """End `run` after the step that is being made."""
        self.stop_reason = reason

    def step(self) -> Record:
        """One update: gradients of one batch, clipped, applied."""
        began = time.perf_counter()
        number = self.progress.step
        torch.manual_seed(derived_seed(self.seed, "dropout", number))
        inputs, targets = self.batches(number)
        loss = self._gradients(inputs, targets)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip or math.inf).item()
        rate = self._set_rates(number)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NotFiniteError(
                f"step {number + 1}: loss {loss}, gradient norm {norm}, learning rate {rate:g}: not finite; stopped "
                "before the update; lower trainer.learning_rate and trainer.matrix_learning_rate"
            )
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        synchronise(self.device)
        seconds = time.perf_counter() - began
        self.progress.step, self.progress.tokens = number + 1, self.progress.tokens + targets.numel()
        self.progress.seconds += seconds
        return {
            "step": self.progress.step,
            "tokens": self.progress.tokens,
            "seconds": self.progress.seconds,
            "train_loss": loss,
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_second": targets.numel() / seconds,
        }

    def _gradients(self, inputs: Tensor, targets: Tensor) -> float:
        """Leave the batch's mean gradient in the parameters and return its mean loss, in nats."""
        parts, total = self.config.accumulation, 0.0
        for x, y in zip(inputs.chunk(parts), targets.chunk(parts), strict=True):
            with _autocast(self.device):
                loss = self._forward(x.to(self.device), y.to(self.device)).loss / parts
            loss.backward()
            total += loss.item()
        return total

    def _set_rates(self, number: int) -> float:
        config = self.config
        fraction = rate_at(
            number,
            max_iters=config.max_iters,
            schedule=config.schedule,
            warmup_iters=config.warmup_iters,
            decay_from=config.decay_from,
            final_fraction=config.final_rate,
        )
        for group in self._groups():
            group["lr"] = group["peak_lr"] * fraction
        return config.learning_rate * fraction

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """What the optimizers remember, as `parameter/slot`."""
        memory = {p: slots for optimizer in self.optimizers for p, slots in optimizer.state.items()}
        named = self.model.named_parameters()
        return {f"{name}/{slot}": value for name, p in named for slot, value in memory.get(p, {}).items()}

    def restore(self, optimizer_tensors: dict[str, Tensor], progress: Progress) -> None:
        """Take back what `optimizer_tensors` gave and where the run was; the weights are the model's own affair.

        Raises:
            CheckpointError: it remembers parameters that this model or optimizer hasn't.
        """
        parameters = dict(self.model.named_parameters())
        owners = {p: optimizer for optimizer in self.optimizers for g in optimizer.param_groups for p in g["params"]}
        for key, value in optimizer_tensors.items():
            name, _, slot = key.rpartition("/")
            parameter = parameters.get(name)
            if parameter is None or (value.ndim and value.shape != parameter.shape):
                raise CheckpointError(f"{key}: the optimizer remembers what this model hasn't")
            on_host = value.ndim == 0 and self.device.type == "mps"  # only fused optimizers count steps on the device
            owners[parameter].state[parameter][slot] = value if on_host else value.to(self.device)
        for optimizer in self.optimizers:
            needed = SLOTS[type(optimizer)]
            for slots in optimizer.state.values():
                if slots.keys() != needed:
                    raise CheckpointError(f"another optimizer's memory: {sorted(slots)} there, {sorted(needed)} here")
        self.progress = progress


def _wanted(compile_setting: str, device: torch.device) -> bool:
    return compile_setting == "always" or (compile_setting == "auto" and device.type == "cuda")


def _autocast(device: torch.device) -> Any:
    dtype = training_type(device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)
