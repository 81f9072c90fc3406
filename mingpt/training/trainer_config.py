"""How a model is trained, as data: every setting of the loop, with its default and its rules."""

import math
from dataclasses import dataclass, fields

from mingpt.core.errors import Setting, require
from mingpt.core.system_config import DEVICES
from mingpt.core.variants import Variants
from mingpt.models.model_config import RULES, ModelConfig

OPTIMIZERS = Variants("mingpt.training.optim:OPTIMIZERS")
SCHEDULES = Variants("mingpt.training.optim:SCHEDULES")
COMPILE = ("auto", "always", "never")
# Settings that a choice leaves unread: refused where they differ from their defaults, instead of ignored.
UNREAD = {
    ("optimizer", "adamw"): ("matrix_learning_rate", "matrix_momentum"),
    ("schedule", "constant"): ("decay_from", "final_rate"),
}
READ_BY_COUNTING = ("device", "resume", "resume_changed")  # the rest say how gradients are taken and used
EVERY = ("eval_every", "sample_every", "save_every")  # after so many steps and the last, which may be the only one


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
        matrix_momentum: Muon's decay rate of the average of gradients
        betas: AdamW's decay rates of the averages of gradient and squared gradient
        weight_decay: fraction (times the learning rate) of matrices and embeddings removed at each step
        grad_norm_clip: longest gradient, in L2 norm over all parameters; 0: any
        schedule: how the learning rate falls after warm-up
        warmup_iters: steps over which it first rises, linearly
        decay_from: fraction of max_iters after which it begins to fall
        final_rate: fraction of the peak that it falls towards
        device: where to train; auto: the first of cuda, mps, cpu that is there
        compile: torch.compile; auto: on cuda alone, without data.stateful
        eval_every: steps between looks at held-out text; 0: at the end only
        eval_tokens: held-out tokens that such a look takes, spread evenly; the last look always takes every one
        sample_every: steps between samples of text; null: a tenth of max_iters; 0: at the end only
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
    matrix_momentum: float = 0.95
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
    sample_every: int | None = None
    save_every: int = 300
    resume: bool = False
    resume_changed: bool = False

    def __post_init__(self) -> None:
        def rule(holds: bool, name: str, text: str, *others: Setting) -> None:
            require(holds, f"trainer.{name}", getattr(self, name), text, *others)

        for name in ("max_iters", "batch_size", "accumulation", "eval_tokens"):
            rule(getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("warmup_iters", "eval_every", "sample_every", "save_every"):
            rule((getattr(self, name) or 0) >= 0, name, "must be 0 or more")
        for name in ("learning_rate", "matrix_learning_rate"):
            rule(math.isfinite(getattr(self, name)) and getattr(self, name) > 0, name, "must be finite and above 0")
        for name in ("weight_decay", "grad_norm_clip"):
            rule(math.isfinite(getattr(self, name)) and getattr(self, name) >= 0, name, "must be finite, 0 or more")
        parts = ("trainer.accumulation", self.accumulation)
        rule(self.batch_size % self.accumulation == 0, "batch_size", "must be a multiple of {}", parts)
        rule(0 <= self.matrix_momentum < 1, "matrix_momentum", "must be in [0, 1)")
        rule(len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "betas", "must be two numbers in [0, 1)")
        for name in ("decay_from", "final_rate"):
            rule(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]")
        rule(self.device in DEVICES, "device", f"must be one of {', '.join(DEVICES)}")
        rule(self.compile in COMPILE, "compile", f"must be one of {', '.join(COMPILE)}")
        OPTIMIZERS[self.optimizer], SCHEDULES[self.schedule]
        for (setting, choice), unread in UNREAD.items():
            for name in unread if getattr(self, setting) == choice else ():
                default = getattr(type(self), name)
                rule(getattr(self, name) == default, name, "is not read by {}", (f"trainer.{setting}", choice))

    @property
    def steps_to_sample(self) -> int:
        """Steps between samples; 0: at the end only."""
        return max(self.max_iters // 10, 1) if self.sample_every is None else self.sample_every


def refuse_carrying(model: ModelConfig, compile_setting: str) -> None:
    """Refuse to carry a state from step to step where that can't be.

    Raises:
        UsageError: names the setting, its value and the rule.
    """
    rule = "needs a model with a state that training can carry on, which {} has not; only recurrent models have one"
    require(RULES[model.type].carries_state, "data.stateful", True, rule, ("model.type", model.type))
    compiled = compile_setting == "always"
    require(not compiled, "trainer.compile", compile_setting, "can't be with {}", ("data.stateful", True))


def refuse_unread(config: TrainerConfig, family: str) -> None:
    """Refuse settings of a training loop, where `family` has none.

    Raises:
        UsageError: names the setting, its value and the rule.
    """
    for field in fields(config):
        if field.name not in (*READ_BY_COUNTING, *EVERY):
            value, rule = getattr(config, field.name), "is not read by {}, which counts in one step"
            require(value == field.default, f"trainer.{field.name}", value, rule, ("model.type", family))
