"""The training loop: batches in, updated weights out, one record per optimizer step.

`Trainer.step` is a training step: batch, forward and backward passes of its micro-batches, clipping, update.  It knows
no model family by name and writes no file.  Evaluation (the validation loss), sampling, logging and checkpoints are
callbacks, functions of (trainer, record) that run in order after every step and may add to the record; those of a run
are in runs/callbacks.py.  Every random number of step s depends on (seed, s) and the process's rank only, so that
callbacks can't change training and a resumed run continues exactly.

On a CPU a micro-batch is divided into pieces, each computed by a thread of its own (distributed/threads.py says why).
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_

from mingpt.core.errors import NotFiniteError
from mingpt.core.phases import Phases
from mingpt.distributed.compile_fallback import compile_or_fall_back
from mingpt.distributed.strategy import SINGLE_PROCESS, ProcessGroup, full_tensor
from mingpt.distributed.threads import add_gradients, cpu_threads, even_pieces, keep_threads, parallel_map
from mingpt.models.base import LanguageModel
from mingpt.training.optim import load_optimizer_tensors, make_optimizers, optimizer_tensors, rate_at
from mingpt.training.tbptt import RecurrentStates
from mingpt.training.trainer_config import TrainerConfig, check_tbptt
from mingpt.utils import (
    derived_seed,
    seeded_generator,
    seeded_globally,
    synchronise,
    to_device,
    training_type,
)

Record = dict[str, Any]
Callback = Callable[["Trainer", Record], None]
Piece = tuple[int, Tensor, Tensor, Any]  # of a batch: number, (b, t) inputs and targets, recurrent state or None
Gradients = Sequence[Tensor | None]


@dataclass
class Progress:
    """Progress of a run, which a checkpoint stores next to tensors; times are in seconds."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # inside training steps only
    cpu_seconds: float = 0.0  # of all threads of this process, inside training steps only
    wall_seconds: float = 0.0


class Trainer:
    """Training loop of `model` on `batches`.

    Args:
        config: settings of the loop and the optimizer
        model: any LanguageModel; moved to `device`
        batches: step -> (inputs, targets), (b, t) int64 token ids each; a pure function
        fresh: step -> True if recurrent states are reset before it (truncated BPTT); None: reset before every step
        seed: base seed of the dropout masks
        device: device to train on; with several processes, this process's own
        callbacks: called as callback(trainer, record) after every step
        processes: the processes that share this training
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
        callbacks: Sequence[Callback] = (),
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.config, self.batches, self.seed, self.callbacks = config, batches, seed, list(callbacks)
        self.device, self.processes, self.model = torch.device(device), processes, model
        self.forward = processes.wrap(model, self.device, model.stages)
        if fresh:
            check_tbptt(model.config, config.compile)
        auto = config.compile == "auto" and self.device.type == "cuda"
        compiled = fresh is None and (auto or config.compile == "always")
        # A subclass may draw random numbers in another way, so the attribute holds for the very class that has it.
        own = vars(type(model)).get("draws_from_generator", False) and self.device.type == "cpu" and not compiled
        seeded = seeded_generator if own else partial(seeded_globally, device=self.device)
        self.seeded: Callable[[int], AbstractContextManager[Any]] = seeded
        self.micro_batches = processes.micro_batches(config.batch_size, config.accumulation)
        rows, threads = config.batch_size // self.micro_batches, torch.get_num_threads()
        self.pieces = even_pieces(rows) if own and processes.allows_threads else 1  # of a micro-batch, a thread each
        self.operation_threads, self.update_threads = (1, threads) if self.pieces > 1 else (threads, 1)
        self.optimizers = make_optimizers(config, model, self.update_threads)
        for group in self._parameter_groups():
            group["peak_lr"] = group["lr"]
        self.recurrent_states = RecurrentStates(
            fresh, model, config.batch_size, config.accumulation, processes, self.pieces
        )
        self.progress, self.phases = Progress(), Phases()
        self.stop_reason: str | None = None  # the same in all processes
        self._requested_stop: str | None = None  # of this process
        started = time.perf_counter()
        self.compile_failure: str | None = None  # the kind of error
        if compiled:
            self.forward, self.compile_failure = compile_or_fall_back(self.forward, processes, self._try_once)
        self.compile_seconds = time.perf_counter() - started if compiled else 0.0  # part of no step

    def run(self) -> None:
        """Train until max_iters or `stop`, and call every callback after every step, the last one included.

        Raises:
            NotFiniteError: the loss or the gradient is not finite; that step's update was not made.
        """
        self.model.train()
        started = time.perf_counter() - self.progress.wall_seconds
        with keep_threads():
            while not self.last:
                record = self.step()
                self.sync_stop()
                self.progress.wall_seconds = time.perf_counter() - started
                record["wall_seconds"] = self.progress.wall_seconds
                for callback in self.callbacks:
                    callback(self, record)

    def step(self) -> Record:
        """Make one optimizer step and return its record.

        Raises:
            NotFiniteError: the loss or the gradient is not finite; the update was not made.
        """
        started, cpu_started, step = time.perf_counter(), time.process_time(), self.progress.step
        lr = self._set_learning_rates(step)
        with cpu_threads(self.operation_threads):
            with self.seeded(derived_seed(self.seed, "dropout", step, *self.processes.path)):
                inputs, targets = self.batches(step)  # (b, t) token ids each
                losses = list[Tensor]()
                for micro_batch in self._micro_batches(step, inputs, targets):
                    losses += self._forward_backward(step, micro_batch)  # gradients accumulate in the parameters
            norm = clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip or math.inf)
            # The only synchronisation with a GPU, after all of its work has been queued.
            grad_norm = full_tensor(norm).item()
            loss = self.processes.mean(math.fsum(loss.item() for loss in losses))
            if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                raise NotFiniteError(
                    f"step {step + 1}: loss {loss}, gradient norm {grad_norm}, learning rate {lr:g}: not finite; "
                    "stopped before the update; lower trainer.learning_rate and trainer.matrix_learning_rate"
                )
            parallel_map(_update, self.optimizers, self.update_threads)
        self.progress.step, self.progress.tokens = step + 1, self.progress.tokens + targets.numel()
        if self.evaluated_or_saved:
            synchronise(self.device)  # otherwise the update overlaps with the next step, and is timed there
        seconds = time.perf_counter() - started
        self.progress.seconds += seconds
        self.progress.cpu_seconds += time.process_time() - cpu_started
        return {
            "step": self.progress.step,
            "tokens": self.progress.tokens,
            "seconds": self.progress.seconds,
            "cpu_seconds": self.progress.cpu_seconds,
            "train_loss": loss,
            "lr": lr,
            "grad_norm": grad_norm,
            "tokens_per_second": targets.numel() / seconds,
        }

    def _micro_batches(self, step: int, inputs: Tensor, targets: Tensor) -> list[list[Piece]]:
        """Split this process's rows of (b, t) inputs and targets into micro-batches, and each into pieces."""
        count = self.micro_batches * self.pieces
        x, y = (self.processes.local_rows(ids).chunk(count) for ids in (inputs, targets))
        pieces = [*zip(range(count), x, y, self.recurrent_states.before(step), strict=True)]
        return [pieces[first : first + self.pieces] for first in range(0, count, self.pieces)]

    def _forward_backward(self, step: int, micro_batch: list[Piece]) -> list[Tensor]:
        """Add the gradients of a micro-batch to the parameters'; return its shares of the mean loss, in nats."""
        if self.pieces > 1:
            trained = [p for p in self.model.parameters() if p.requires_grad]
            found = parallel_map(partial(self._piece_gradients, step, trained), micro_batch, self.pieces)
            add_gradients(trained, [gradients for _, gradients in found])
            return [loss for loss, _ in found]
        ((number, x, y, state),) = micro_batch
        with self.processes.gradient_sync(last=number == self.micro_batches - 1):
            with _autocast(self.device):
                loss = self.forward(to_device(x, self.device), to_device(y, self.device), state=state).loss
                loss = loss / self.micro_batches
            loss.backward()
        return [loss.detach()]

    def _piece_gradients(self, step: int, trained: list[Parameter], piece: Piece) -> tuple[Tensor, Gradients]:
        """Return a piece's share of the mean loss, in nats, and its gradients of the parameters `trained`.

        Dropout masks depend on seed, step and the piece's number.
        """
        number, x, y, state = piece
        with seeded_generator(derived_seed(self.seed, "dropout", step, "piece", number)):
            loss = self.forward(x, y, state=state).loss / (self.micro_batches * self.pieces)
        return loss.detach(), torch.autograd.grad(loss, trained, allow_unused=True)

    @property
    def finished(self) -> bool:
        """True after max_iters steps."""
        return self.progress.step >= self.config.max_iters

    @property
    def last(self) -> bool:
        """True if the step just made is the last of this call of `run`."""
        return self.finished or self.stop_reason is not None

    def due(self, every: int) -> bool:
        """Return True if what happens every so many steps (0: at the end only) happens after the step just made."""
        return self.finished or (every > 0 and self.progress.step % every == 0)

    @property
    def evaluated_or_saved(self) -> bool:
        """True if evaluation, samples or a checkpoint follow the step just made."""
        config = self.config
        return any(self.due(every) for every in (config.eval_every, config.steps_to_sample, config.save_every))

    def stop(self, reason: str) -> None:
        """Request that `run` ends after the current step."""
        self._requested_stop = reason

    def sync_stop(self) -> None:
        """Share requests to stop among processes; a later request takes effect one step later."""
        self.stop_reason = self.processes.any_reason(self._requested_stop)

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Return the optimizers' state, as `parameter/slot`."""
        return optimizer_tensors(self.model, self.optimizers)

    def restore(
        self, optimizer_state: dict[str, Tensor], recurrent_state: dict[str, Tensor], progress: Progress
    ) -> None:
        """Restore what a checkpoint holds, except the model's weights.

        Args:
            optimizer_state: as `optimizer_tensors` returned it
            recurrent_state: as `recurrent_states.tensors` returned it
            progress: progress of the run

        Raises:
            CheckpointError: the tensors belong to another model or optimizer.
        """
        self.recurrent_states.restore(recurrent_state)
        load_optimizer_tensors(optimizer_state, self.model, self.optimizers)
        self.progress = progress

    def _set_learning_rates(self, step: int) -> float:
        """Set the learning rate of every parameter group for `step`; return AdamW's."""
        config = self.config
        fraction = rate_at(
            step,
            max_iters=config.max_iters,
            schedule=config.schedule,
            warmup_iters=config.warmup_iters,
            decay_from=config.decay_from,
            final_fraction=config.final_rate,
        )
        for group in self._parameter_groups():
            group["lr"] = group["peak_lr"] * fraction
        return config.learning_rate * fraction

    def _parameter_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def _try_once(self, forward: Callable[..., Any]) -> None:
        """Run `forward` and its backward pass on one micro-batch, without an update."""
        first = (self.processes.local_rows(ids).chunk(self.micro_batches)[0] for ids in self.batches(0))
        inputs, targets = (to_device(ids, self.device) for ids in first)
        try:
            self.model.train()
            with self.seeded(self.seed), self.processes.gradient_sync(last=False), _autocast(self.device):
                forward(inputs, targets).loss.backward()
        finally:
            self.model.zero_grad()


def _update(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    dtype = training_type(device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)
