"""A recurrent cell over time, what it squashes with, and how far back it feels."""

import torch
from torch import Tensor

from mingpt.models.recurrent.activations import SLIDE, TANH, Activation
from mingpt.models.recurrent.cells import CELLS

from .sheet import BLUE, GREEN, INK, ORANGE, PALE, PURPLE, SOFT, Sheet, shade

COLOURS = {"elman": BLUE, "elman_tanh": ORANGE, "gru": GREEN, "lstm": PURPLE}
RAISED = {"elman": -8, "elman_tanh": 1, "gru": 0, "lstm": -9}  # points, so that names do not overlap
WIDTH, STEPS = 32, 25


def draw() -> Sheet:
    sheet = Sheet(8, 3.9)
    _unrolled(sheet)
    _squashing(sheet)
    _memory(sheet)
    return sheet


def _unrolled(sheet: Sheet) -> None:
    sheet.title(2.3, 0.22, "one cell, step after step")
    before = (0.32, 1.9)
    sheet.text(*before, "$h_0$", size=11, colour=SOFT)
    for step, letter in enumerate("ROME"):
        x = 1.15 + step * 0.98
        sheet.box(x, 2.95, letter, fill="#ffffff")
        sheet.box(x, 1.9, f"$h_{step + 1}$", w=0.56, h=0.44, fill=shade(0.25), edge=BLUE, size=12)
        sheet.box(x, 0.88, f"$y_{step + 1}$", fill=PALE)
        sheet.arrow((before[0] + (0.14 if step == 0 else 0.28), 1.9), (x - 0.28, 1.9), BLUE, lw=1.8)
        sheet.arrow((x, 2.77), (x, 2.12), INK)
        sheet.arrow((x, 1.68), (x, 1.06), INK)
        before = (x, 1.9)
    sheet.arrow((4.37, 1.9), (4.72, 1.9), BLUE, lw=1.8)
    sheet.text(1.64, 1.72, "$W_{hh}$", colour=BLUE, size=9.5)
    sheet.text(1.36, 2.42, "$W_{hx}$", size=9.5)
    sheet.text(1.36, 1.37, "$W_{yh}$", size=9.5)
    sheet.arrow((4.25, 3.36), (0.45, 3.36), ORANGE, dash=(0, (4, 2)))
    label = "gradient: at each step back times $W_{hh}$, and times the slope of $f$"
    sheet.text(2.35, 3.57, label, size=9, colour=ORANGE)


def _slope(activation: Activation, a: Tensor) -> Tensor:
    a = a.clone().requires_grad_()
    return torch.autograd.grad(activation.of(a).sum(), a)[0]


def _squashing(sheet: Sheet) -> None:
    sheet.title(6.45, 0.22, "what it squashes with")
    axes = sheet.plot(5.35, 0.42, 2.4, 1.25)
    a = torch.linspace(-2.2, 2.2, 265, dtype=torch.float64)
    for name, activation in (("elman", SLIDE), ("elman_tanh", TANH)):
        axes.plot(a, activation.of(a), color=COLOURS[name], lw=1.8)
        axes.plot(a, _slope(activation, a), color=COLOURS[name], lw=1.2, ls=(0, (3, 1.5)))
    axes.axhline(0, color=SOFT, lw=0.5)
    axes.set(xlim=(-2.2, 2.2), ylim=(-1.1, 1.15), xticks=[-2, -1, 0, 1, 2], yticks=[-1, 0, 1])
    axes.set_xlabel("what goes in", fontsize=8.5, color=SOFT, labelpad=1)
    axes.set_ylabel("what comes out", fontsize=8.5, color=SOFT, labelpad=1)
    axes.text(-2.1, 0.45, "slide", color=BLUE, fontsize=9)
    axes.text(-2.1, -0.75, "tanh", color=ORANGE, fontsize=9)
    axes.text(2.2, -0.72, "dashed: slope", color=SOFT, fontsize=8.5, ha="right")


def _felt(name: str) -> Tensor:
    """(STEPS,) how large the gradient of a fresh cell's last feature is by inputs 0, 1, ... steps before it."""
    torch.manual_seed(1)
    cell = CELLS[name](WIDTH).double()
    x = (torch.randn(64, STEPS, WIDTH, dtype=torch.float64) * 0.5 + cell.centre).requires_grad_()
    feature = cell(x)[0][:, -1]
    signs = torch.randn(feature.shape, dtype=torch.float64).sign()
    gradient = torch.autograd.grad((feature * signs).sum(), x)[0]
    sizes: Tensor = gradient.norm(dim=-1).mean(0).flip(0)
    return sizes / sizes[0]


def _memory(sheet: Sheet) -> None:
    sheet.title(6.45, 2.12, "how far back a fresh cell feels")
    axes = sheet.plot(5.35, 2.32, 1.75, 1.15)
    for name, colour in COLOURS.items():
        felt = _felt(name)
        axes.plot(range(STEPS), felt, color=colour, lw=1.6)
        axes.annotate(
            name,
            (STEPS - 1, felt[-1]),
            xytext=(4, RAISED[name]),
            textcoords="offset points",
            color=colour,
            fontsize=8.5,
        )
    axes.set(yscale="log", xlim=(0, STEPS - 1), xticks=[0, 8, 16, 24], yticks=[1, 1e-4, 1e-8])
    axes.set_xlabel("steps before", fontsize=8.5, color=SOFT, labelpad=1)
    axes.set_ylabel("gradient", fontsize=8.5, color=SOFT, labelpad=1)
    axes.minorticks_off()
