"""Settings of training, as data: what every family's trainer has, and the training loop's own on top."""

import math
from dataclasses import dataclass
from typing import ClassVar

from mingpt.core.errors import Setting, require
from mingpt.core.system_config import DEVICES
from mingpt.core.variants import Variants, check_choices, choice
from mingpt.models.config import CONFIGS, ModelConfig

OPTIMIZERS = Variants("mingpt.training.optim:OPTIMIZERS")
SCHEDULES = Variants("mingpt.training.optim:SCHEDULES")
COMPILE = ("auto", "always", "never")


@dataclass(frozen=True, kw_only=True)
class CommonTrainerConfig:
    """Settings of every family's trainer.

    Attributes:
        device: where to train; auto: the first of cuda, mps, cpu that is there
        eval_every: steps between evaluations on validation text; 0: at the end only
        sample_every: steps between samples of text; null: a tenth of max_iters; 0: at the end only
        save_every: steps between checkpoints; 0: at the end only
        resume: resume the run in system.work_dir (null: the newest run) from its newest checkpoint
        resume_changed: accept settings that differ from the ones that the run was started with
    """

    device: str = choice("auto", DEVICES)
    eval_every: int = 100
    sample_every: int | None = None
    save_every: int = 300
    resume: bool = False
    resume_changed: bool = False

    def __post_init__(self) -> None:
        check_choices(self, "trainer")
        for name in ("eval_every", "sample_every", "save_every"):
            self._rule((getattr(self, name) or 0) >= 0, name, "must be 0 or more")

    def notes(self) -> list[str]:
        """Return a sentence for each valid setting that has no effect in training."""
        return []

    def _rule(self, holds: bool, name: str, text: str, *others: Setting) -> None:
        require(holds, f"trainer.{name}", getattr(self, name), text, *others)


@dataclass(frozen=True, kw_only=True)
class NGramTrainerConfig(CommonTrainerConfig):
    """Settings of an n-gram model's trainer, which counts the text in one step."""

    max_iters: ClassVar[int] = 1
    batch_size: ClassVar[int] = 1
    accumulation: ClassVar[int] = 1
    eval_tokens: ClassVar[int] = 1  # before the last step, which is the only one
    steps_to_sample: ClassVar[int] = 0
    compile: ClassVar[str] = "never"


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(CommonTrainerConfig):
    """Settings of the training loop.

    Attributes:
        max_iters: optimizer steps
        batch_size: blocks per step
        accumulation: micro-batches that a step's blocks are computed in, one after the other, to save memory
        optimizer: adamw on everything; muon on the matrices of the blocks and adamw on the rest
        learning_rate: peak learning rate of AdamW
        matrix_learning_rate: peak learning rate of Muon
        matrix_momentum: momentum of Muon, the decay rate of its average of gradients
        betas: AdamW's decay rates of the averages of gradient and squared gradient
        weight_decay: fraction (times the learning rate) of matrices and embeddings removed at each step
        grad_norm_clip: largest gradient norm, L2 over all parameters, to which gradients are clipped; 0: no clipping
        schedule: how the learning rate falls after warm-up
        warmup_iters: steps over which the learning rate first rises, linearly
        decay_from: fraction of max_iters after which the learning rate begins to fall
        final_rate: fraction of the peak learning rate that it falls towards
        compile: torch.compile; auto: on cuda alone, without data.stateful
        eval_tokens: validation tokens of an evaluation, spread evenly; the last one always takes every token
    """

    max_iters: int = 1000
    batch_size: int = 8
    accumulation: int = 1
    optimizer: str = choice("muon", OPTIMIZERS)
    learning_rate: float = 1e-2
    matrix_learning_rate: float = 0.02
    matrix_momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    grad_norm_clip: float = 1.0
    schedule: str = choice("linear", SCHEDULES)
    warmup_iters: int = 0
    decay_from: float = 0.0
    final_rate: float = 0.0
    compile: str = choice("auto", COMPILE)
    eval_tokens: int = 16384

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = self._rule
        for name in ("max_iters", "batch_size", "accumulation", "eval_tokens"):
            rule(getattr(self, name) >= 1, name, "must be at least 1")
        rule(self.warmup_iters >= 0, "warmup_iters", "must be 0 or more")
        for name in ("learning_rate", "matrix_learning_rate"):
            rule(math.isfinite(getattr(self, name)) and getattr(self, name) > 0, name, "must be finite and above 0")
        for name in ("weight_decay", "grad_norm_clip"):
            rule(math.isfinite(getattr(self, name)) and getattr(self, name) >= 0, name, "must be finite, 0 or more")
        micro_batches = ("trainer.accumulation", self.accumulation)
        rule(self.batch_size % self.accumulation == 0, "batch_size", "must be a multiple of {}", micro_batches)
        rule(0 <= self.matrix_momentum < 1, "matrix_momentum", "must be in [0, 1)")
        rule(len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "betas", "must be two numbers in [0, 1)")
        for name in ("decay_from", "final_rate"):
            rule(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]")
            self._without_effect(name, "schedule", "constant")
        for name in ("matrix_learning_rate", "matrix_momentum"):
            self._without_effect(name, "optimizer", "adamw")

    def _without_effect(self, name: str, setting: str, value: str) -> None:
        """Reject `name`, unless it has its default, where it has no effect with `setting` as it is."""
        usual = getattr(self, name) == getattr(TrainerConfig, name)
        rule, other = "has no effect with {}", (f"trainer.{setting}", value)
        self._rule(usual or getattr(self, setting) != value, name, rule, other)

    @property
    def steps_to_sample(self) -> int:
        """Steps between samples; 0: at the end only."""
        return max(self.max_iters // 10, 1) if self.sample_every is None else self.sample_every

    def notes(self) -> list[str]:
        if self.max_iters > self.warmup_iters:
            return []
        return [
            f"trainer.warmup_iters={self.warmup_iters}: all of trainer.max_iters={self.max_iters} are warm-up, so the "
            "learning rate never falls"
        ]


AnyTrainerConfig = TrainerConfig | NGramTrainerConfig


def trainer_class(model_type: str) -> type[AnyTrainerConfig]:
    """Return the class of the trainer settings that go with a model family."""
    return NGramTrainerConfig if CONFIGS[model_type].count_based else TrainerConfig


def check_tbptt(model: ModelConfig, compile_setting: str) -> None:
    """Check that training can continue from the model's recurrent state (truncated BPTT).

    Raises:
        UsageError: names the setting, its value and the rule.
    """
    rule = "needs a model with a recurrent state, which {} has not"
    require(model.supports_tbptt, "data.stateful", True, rule, ("model.type", model.type))
    compiled = compile_setting == "always"
    require(not compiled, "trainer.compile", compile_setting, "can't be with {}", ("data.stateful", True))
