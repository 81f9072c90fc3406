"""Optimizers and learning-rate schedules.

Muon updates the weight matrices between hidden vectors by their orthogonalised momentum; embeddings, output head,
convolutions, norms and biases always use AdamW.
"""

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mingpt.core.errors import CheckpointError
from mingpt.core.registry import Registry
from mingpt.distributed.strategy import full_tensor, sharded_like
from mingpt.models.init import hidden_matrices
from mingpt.training.trainer_config import TrainerConfig
from mingpt.utils import multiplies_bfloat16

Groups = list[dict[str, Any]]
MakeOptimizers = Callable[..., list[torch.optim.Optimizer]]
OPTIMIZERS: Registry[MakeOptimizers] = Registry("trainer.optimizer")
SCHEDULES: Registry[Callable[[float], float]] = Registry("trainer.schedule")
SCHEDULES.add("constant")(lambda done: 1.0)
SCHEDULES.add("linear")(lambda done: 1.0 - done)
SCHEDULES.add("cosine")(lambda done: 0.5 * (1.0 + math.cos(math.pi * done)))


def rate_at(
    step: int, *, max_iters: int, schedule: str, warmup_iters: int, decay_from: float, final_fraction: float
) -> float:
    """Return the learning rate of step `step`, from 0, as a fraction of its peak.

    Linear warm-up over warmup_iters steps, then 1 until `decay_from` (a fraction of max_iters), then decay by
    `schedule` to final_fraction, which step max_iters would have.
    """
    if step < warmup_iters:
        return (step + 1) / warmup_iters
    first = max(warmup_iters, decay_from * max_iters)
    done = min(max((step - first) / max(max_iters - first, 1), 0.0), 1.0)
    return final_fraction + (1 - final_fraction) * SCHEDULES[schedule](done)


@OPTIMIZERS.add("adamw")
def adamw(
    model: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float, shares: int = 1, **_: Any
) -> list[Any]:
    """Return AdamW for all parameters (Loshchilov & Hutter 2019); those with two axes or more have weight decay.

    Args:
        model: the model
        lr: peak learning rate
        betas: decay rates of the averages
        weight_decay: fraction (times lr) of the weights removed per step
        shares: number of optimizers that the parameters are divided among, to be stepped in parallel
    """
    return [_adamw(share, lr, betas, weight_decay) for share in _divided(model.parameters(), shares)]


@OPTIMIZERS.add("muon")
def muon(
    model: nn.Module,
    *,
    lr: float,
    matrix_lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    matrix_momentum: float = 0.95,
    shares: int = 1,
) -> list[Any]:
    """Return Muon for the hidden matrices and AdamW for the other parameters (Jordan et al. 2024).

    Args:
        model: the model
        lr: AdamW's peak learning rate
        matrix_lr: Muon's peak learning rate
        betas: AdamW's decay rates of the averages
        weight_decay: fraction (times the learning rate) of the weights removed per step
        matrix_momentum: Muon's momentum
        shares: number of optimizers of each kind that the parameters are divided among, to be stepped in parallel
    """
    matrices = hidden_matrices(model)
    others = [p for name, p in model.named_parameters() if name not in matrices]
    of_matrices = [
        Muon(share, lr=matrix_lr, momentum=matrix_momentum, weight_decay=weight_decay)
        for share in _divided(matrices.values(), shares)
    ]
    return [*(_adamw(share, lr, betas, weight_decay) for share in _divided(others, shares)), *of_matrices]


def make_optimizers(config: TrainerConfig, model: nn.Module, shares: int = 1) -> list[torch.optim.Optimizer]:
    """Return the optimizers that `config` asks for; [] for a model without parameters."""
    if not [*model.parameters()]:
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


def _divided(parameters: Iterable[Tensor], shares: int) -> list[list[Tensor]]:
    """Divide the parameters, the largest first, so that shares have about equally many of each shape."""
    ordered = sorted(parameters, key=lambda p: (-p.numel(), tuple(p.shape)))
    return [share for share in (ordered[first::shares] for first in range(shares)) if share]


def _adamw(parameters: Sequence[Tensor], lr: float, betas: tuple[float, float], weight_decay: float) -> "AdamW":
    groups: Groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    return AdamW([g for g in groups if g["params"]], lr=lr, betas=betas, fused=fused)


class _Eager(torch.optim.Optimizer):
    """PyTorch's base class without its torch.compiler.disable, which imports the compiler, a second or more."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


_adamw_step = inspect.unwrap(torch.optim.AdamW.step)


class AdamW(_Eager, torch.optim.AdamW):
    """PyTorch's AdamW (Loshchilov & Hutter 2019)."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _adamw_step(self)


class Muon(_Eager):
    """Muon: each update is approximately the nearest semi-orthogonal matrix to the Nesterov momentum.

    Update of an m x n matrix: lr sqrt(max(1, m/n)) orthogonal(gradient + momentum (average - gradient)) (Jordan et al.
    2024).  Matrices of one shape are orthogonalised in one batch.

    Args:
        parameters: matrices only
        lr: learning rate; every singular value of an update of a square matrix is about lr
        momentum: decay rate of the average of gradients
        weight_decay: fraction (times lr) of the weights removed per step
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameters in _by_shape(p for p in group["params"] if p.grad is not None):
                averages = [self._average(p) for p in parameters]
                gradients = [p.grad for p in parameters if p.grad is not None]
                torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
                # of complete matrices: the factor of a shard isn't a shard of the factor
                updates = orthogonal(torch.stack([full_tensor(matrix) for matrix in ahead]))
                rows, columns = parameters[0].shape
                # bounded so that float32 can hold it; weights that aren't finite are rejected by a callback
                length = min(group["lr"], 1e30) * math.sqrt(max(1.0, rows / columns))
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                steps = [sharded_like(u, p) for u, p in zip(updates.to(parameters[0].dtype), parameters, strict=True)]
                torch._foreach_add_(parameters, steps, alpha=-length)

    def _average(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        average: Tensor = state["momentum"]
        return average


def _by_shape(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    groups: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for parameter in parameters:
        groups[parameter.shape].append(parameter)
    yield from groups.values()


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return approximately U V^T of each matrix U S V^T of (k, m, n), by the quintic Newton-Schulz iteration.

    Singular values end in about [0.7, 1.2], which works as well as 1 (Jordan et al. 2024).  It runs in bfloat16 if the
    hardware supports it, else in float32 (emulated bfloat16 is ten times slower).
    """
    x = matrices.to(torch.bfloat16 if multiplies_bfloat16(matrices.device) else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    by_gram = x.shape[-1] >= 2 * x.shape[-2] and x.dtype == torch.float32
    x = _newton_schulz_by_gram(x, steps) if by_gram else _newton_schulz(x, steps)
    return x.mT if tall else x


QUINTIC = (3.4445, -4.7750, 2.0315)


def _newton_schulz(x: Tensor, steps: int) -> Tensor:
    """Iterate x <- (a + b G + c G^2) x, G = x x^T."""
    a, b, c = QUINTIC
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _newton_schulz_by_gram(x: Tensor, steps: int) -> Tensor:
    """Iterate on G alone: every factor of x is a polynomial in G.

    For m x 4m matrices this takes 25 products of m^3 instead of 45; in float32 only, since it squares rounding errors.
    """
    a, b, c = QUINTIC
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device).expand_as(gram)
    factor = identity
    for _ in range(steps):
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c).add_(identity, alpha=a)
        factor = step @ factor
        gram = step @ gram @ step
    return factor @ x


# State tensors ("slots") of each optimizer per parameter, as a checkpoint stores them.
SLOTS = {AdamW: {"step", "exp_avg", "exp_avg_sq"}, Muon: {"momentum"}}


def optimizer_tensors(model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the state of the optimizers of the model's parameters, as `parameter/slot`."""
    found = {p: slots for optimizer in optimizers for p, slots in optimizer.state.items()}
    named = model.named_parameters()
    return {f"{name}/{slot}": value for name, p in named for slot, value in found.get(p, {}).items()}


def load_optimizer_tensors(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Load what `optimizer_tensors` returned into the optimizers of the model's parameters.

    Raises:
        CheckpointError: the tensors belong to another model or optimizer.
    """
    parameters = dict(model.named_parameters())
    owners = {p: optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or (value.ndim and value.shape != parameter.shape):
            raise CheckpointError(f"{key}: the optimizer's state has a parameter that this model doesn't have")
        on_host = value.ndim == 0 and parameter.device.type == "mps"  # only fused optimizers count steps on the device
        owners[parameter].state[parameter][slot] = (
            value if on_host else sharded_like(value.to(parameter.device), parameter)
        )
    for optimizer in optimizers:
        needed = SLOTS[type(optimizer)]
        for slots in optimizer.state.values():
            if slots.keys() != needed:
                raise CheckpointError(f"another optimizer's state: {sorted(slots)} there, {sorted(needed)} here")
