"""The training loop: batches in, updated weights out, one record a step.

It knows no model by name and writes no file.  Whoever wants to look, judge, draw, log or save registers an event: a
function of (trainer, record) called after every step, in order; each may add to the record.  Everything random in step
s follows from (seed, s), and from which process it is, so an event can't change what is learned and a resumed run goes
on as if nothing happened.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mingpt.core.errors import NotFiniteError
from mingpt.distributed.strategy import ALONE, Ranks, full_tensor
from mingpt.distributed.threads import add_gradients, at_once, kept, shares
from mingpt.models.base import LanguageModel
from mingpt.training.optim import OPTIMIZERS, memory, rate_at, restore_memory
from mingpt.training.phases import Phases
from mingpt.training.tbptt import Carried
from mingpt.training.trainer_config import TrainerConfig, refuse_carrying
from mingpt.utils import cpu_threads, derived_seed, global_draws, moved, own_draws, synchronise, training_type

logger = logging.getLogger(__name__)

Record = dict[str, Any]
Event = Callable[["Trainer", Record], None]


@dataclass
class Progress:
    """How far a run is: what a checkpoint carries besides tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # inside training steps only
    cpu_seconds: float = 0.0  # of this process and all its threads, inside training steps only
    wall_seconds: float = 0.0


class Trainer:
    """Trains `model` on `batches`.

    Args:
        config: how.
        model: any LanguageModel, moved to `device`.
        batches: step -> (inputs, targets), both (b, t) int64, the same at every call.
        fresh: where the model's state is carried from step to step, tells which steps begin without; None: all do.
        seed: of dropout.
        device: a torch.device; of several processes, their own.
        events: called as event(trainer, record) after every step.
        ranks: the processes that share this training; each does its part.
    """

    def __init__(
        self,
        config: TrainerConfig,
        model: LanguageModel,
        batches: Callable[[int], tuple[Tensor, Tensor]],
        *,
        fresh: Callable[[int], bool] | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        events: Sequence[Event] = (),
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self.batches, self.seed, self.events = config, batches, seed, list(events)
        self.device, self.ranks, self.model = torch.device(device), ranks, model
        self._forward = ranks.spread(model, self.device, model.stages)
        compiling = fresh is None and _wanted(config.compile, self.device)
        own = vars(type(model)).get("own_draws", False) and self.device.type == "cpu" and not compiling
        self._draws: Callable[[int], AbstractContextManager[Any]] = (
            own_draws if own else partial(global_draws, device=self.device)
        )
        self.parts = ranks.parts(config.batch_size, config.accumulation)
        self.pieces = shares(config.batch_size // self.parts) if own and ranks.passes_at_once else 1  # of each part
        self.threads = torch.get_num_threads()  # at once, or, where nothing is, of each operation
        self.optimizers = _optimizers(config, self.model, self.threads if self.pieces > 1 else 1)
        for group in self._groups():
            group["peak_lr"] = group["lr"]
        if fresh:
            refuse_carrying(model.config, config.compile)
        self.carried = Carried(fresh, self.model, config.batch_size, config.accumulation, ranks, self.pieces)
        self.progress, self.phases = Progress(), Phases()
        self.stop_reason: str | None = None  # of all processes
        self._asked: str | None = None  # of this one
        began = time.perf_counter()
        self.compile_failure: str | None = None  # the kind of error
        self._forward = self._compiled() if compiling else self._forward
        self.compile_seconds = time.perf_counter() - began if compiling else 0.0  # in no step's

    def _compiled(self) -> Callable[..., Any]:
        """The model, compiled and tried once forward and backward; where that fails, the model itself."""
        compiled, failures = self.ranks.compiled(self._forward)
        first = (self.ranks.rows(ids).chunk(self.parts)[0] for ids in self.batches(0))
        inputs, targets = (moved(ids, self.device) for ids in first)
        failed = None
        try:
            self.model.train()
            with self._draws(self.seed), self.ranks.accumulating(last=False), _autocast(self.device):
                compiled(inputs, targets).backward()
        except Exception as error:  # before anything is compiled; training needs none of it
            failed = type(error).__name__
        finally:
            self.model.zero_grad()
        self.compile_failure = failed = self.ranks.agreed(failed or next(iter(failures), None))
        if failed:
            logger.warning(f"torch.compile failed ({failed}); training goes on without it")
        return self._forward if failed else compiled

    def run(self) -> None:
        """Train until max_iters, or until `stop` was called; then the last event has run for the last step.

        Raises:
            NotFiniteError: the loss or a gradient is not a number; the step's update was not made.
        """
        self.model.train()
        began = time.perf_counter() - self.progress.wall_seconds
        with kept():
            while not self.last:
                record = self.step()
                self.agree()
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
        return self.finished or self.stop_reason is not None

    def due(self, every: int) -> bool:
        """Whether something that happens every so many steps (0: at the end only) happens after the step just made."""
        return self.finished or (every > 0 and self.progress.step % every == 0)

    @property
    def looked_at(self) -> bool:
        """Whether the step just made is judged, sampled or saved."""
        return any(
            self.due(every) for every in (self.config.eval_every, self.config.steps_to_sample, self.config.save_every)
        )

    def stop(self, reason: str) -> None:
        """End `run` after the step that is being made."""
        self._asked = reason

    def agree(self) -> None:
        """Learn whether any process was asked to stop; who is asked from here on ends after the next step."""
        self.stop_reason = self.ranks.agreed(self._asked)

    def step(self) -> Record:
        """One update: gradients of one batch, clipped, applied."""
        with cpu_threads(1 if self.pieces > 1 else self.threads):
            return self._step()

    def _step(self) -> Record:
        began, cpu_began = time.perf_counter(), time.process_time()
        number = self.progress.step
        with self._draws(derived_seed(self.seed, "dropout", number, *self.ranks.path)):
            inputs, targets = self.batches(number)
            losses = self._gradients(number, self.ranks.rows(inputs), self.ranks.rows(targets))
        longest = self.config.grad_norm_clip or math.inf
        clipped = full_tensor(torch.nn.utils.clip_grad_norm_(self.model.parameters(), longest))
        # A card is waited for once, here, when it has been given all that it can be.
        norm, loss = clipped.item(), self.ranks.mean(math.fsum(loss.item() for loss in losses))
        rate = self._set_rates(number)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NotFiniteError(
                f"step {number + 1}: loss {loss}, gradient norm {norm}, learning rate {rate:g}: not finite; stopped "
                "before the update; lower trainer.learning_rate and trainer.matrix_learning_rate"
            )
        at_once(_update, self.optimizers, self.threads if self.pieces > 1 else 1)
        self.progress.step, self.progress.tokens = number + 1, self.progress.tokens + targets.numel()
        if self.looked_at:
            synchronise(self.device)  # any other update goes on while the next step begins, and is in its time
        seconds = time.perf_counter() - began
        self.progress.seconds += seconds
        self.progress.cpu_seconds += time.process_time() - cpu_began
        return {
            "step": self.progress.step,
            "tokens": self.progress.tokens,
            "seconds": self.progress.seconds,
            "cpu_seconds": self.progress.cpu_seconds,
            "train_loss": loss,
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_second": targets.numel() / seconds,
        }

    def _gradients(self, number: int, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Leave the mean gradient of step `number`'s batch in the parameters.

        Args:
            inputs, targets: this process's rows of it.

        Returns:
            Of each part, or piece of one, its share of their mean loss, in nats.
        """
        count = self.parts * self.pieces
        cut = [*zip(inputs.chunk(count), targets.chunk(count), self.carried.into(number), strict=True)]
        if self.pieces > 1:
            return self._gradients_at_once(number, cut)
        losses = list[Tensor]()
        for part, (x, y, state) in enumerate(cut, start=1):
            with self.ranks.accumulating(last=part == self.parts):
                with _autocast(self.device):
                    loss = self._forward(moved(x, self.device), moved(y, self.device), state=state) / self.parts
                loss.backward()
            losses.append(loss.detach())
        return losses

    def _gradients_at_once(self, number: int, cut: Sequence[tuple[Tensor, Tensor, Any]]) -> list[Tensor]:
        """As `_gradients`: the pieces of one part at the same time, each with draws of its own, then added in order."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]

        def passes(piece: int) -> tuple[Tensor, Sequence[Tensor | None]]:
            x, y, state = cut[piece]
            with own_draws(derived_seed(self.seed, "dropout", number, "piece", piece)):
                loss = self._forward(x, y, state=state) / len(cut)
                return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

        losses = list[Tensor]()
        for first in range(0, len(cut), self.pieces):
            found = at_once(passes, range(first, first + self.pieces), self.pieces)
            losses += [loss for loss, _ in found]
            add_gradients(parameters, [gradients for _, gradients in found])
        return losses

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
        return memory(self.model, self.optimizers)

    def restore(
        self, optimizer_tensors: dict[str, Tensor], carried_tensors: dict[str, Tensor], progress: Progress
    ) -> None:
        """Take back what the optimizers and the carried state gave, and where the run was; weights are the model's own.

        Raises:
            CheckpointError: they remember what this model or optimizer hasn't.
        """
        self.carried.restore(carried_tensors)
        restore_memory(optimizer_tensors, self.model, self.optimizers)
        self.progress = progress


def _update(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def _optimizers(config: TrainerConfig, model: LanguageModel, shares: int) -> list[torch.optim.Optimizer]:
    if not model.parameter_count:
        return []
    return OPTIMIZERS[config.optimizer](
        model,
        lr=config.learning_rate,
        matrix_lr=config.matrix_learning_rate,
        matrix_momentum=config.matrix_momentum,
        betas=config.betas,
        weight_decay=config.weight_decay,
        shares=shares,
    )


def _wanted(compile_setting: str, device: torch.device) -> bool:
    return compile_setting == "always" or (compile_setting == "auto" and device.type == "cuda")


def _autocast(device: torch.device) -> Any:
    dtype = training_type(device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)
