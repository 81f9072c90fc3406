"""What a decoder computes with and without a cache, and how the ring of a window turns."""

import math

import torch

from mingpt.models.attention.kv_cache import KeyValueCache

from .sheet import BLUE, GREEN, INK, ORANGE, PALE, SOFT, Sheet, shade

STEPS, CELL = 9, 0.175
CAPACITY, MOMENTS = 6, (4, 6, 9)


def draw() -> Sheet:
    sheet = Sheet(8, 4.7)
    _work(sheet)
    sheet.title(0.3, 2.42, f"with window={CAPACITY} it is a ring: position p lies in slot p mod {CAPACITY}", ha="left")
    for number, tokens in enumerate(MOMENTS):
        _ring(sheet, 1.35 + number * 2.62, 3.62, tokens)
    return sheet


def _work(sheet: Sheet) -> None:
    """Draw which keys and values are computed (columns: generated tokens, rows: positions), and which are cached."""
    for x, title, cached in ((0.75, "without: all again", False), (3.45, "with: one new", True)):
        sheet.title(x + STEPS * CELL / 2, 0.22, title)
        colours: list[list[str | None]] = [
            [None if i > step else ORANGE if i == step or not cached else shade(0.4) for step in range(STEPS)]
            for i in range(STEPS)
        ]
        sheet.cells(x, 0.4, colours, CELL)
        sheet.text(x - 0.14, 0.4 + STEPS * CELL / 2, "position", size=8.5, colour=SOFT, rotation=90)
        sheet.text(x + STEPS * CELL / 2, 0.4 + STEPS * CELL + 0.13, "token being generated", size=8.5, colour=SOFT)
    for row, (colour, text) in enumerate(((ORANGE, "keys and values\ncomputed"), (shade(0.4), "kept from before"))):
        y = 0.75 + row * 0.5
        sheet.cells(5.85, y - CELL / 2, [[colour]], CELL)
        sheet.text(6.12, y, text, size=9.5, ha="left")


def _ring(sheet: Sheet, x: float, y: float, tokens: int) -> None:
    held = _held(tokens)
    for slot in range(CAPACITY):
        angle = 2 * math.pi * slot / CAPACITY - math.pi / 2
        across, down = math.cos(angle), math.sin(angle)
        position = held[slot]
        newest = position == tokens - 1
        fill = PALE if position is None else shade(0.75, ORANGE) if newest else shade(0.3)
        edge = SOFT if position is None else ORANGE if newest else BLUE
        ink = "#ffffff" if newest else INK
        sheet.disc(
            x + 0.6 * across,
            y + 0.6 * down,
            0.2,
            str(position if position is not None else ""),
            fill=fill,
            edge=edge,
            ink=ink,
        )
        side = 0 if abs(across) < 0.1 else 1 if across > 0 else -1
        where = (x + 0.6 * across + 0.26 * side, y + (0.6 * down if side else 0.91 * down))
        sheet.text(*where, f"slot {slot}", size=8, colour=SOFT, ha=("center", "left", "right")[side])
    sheet.text(x, y, f"{tokens} tokens\nread", size=9.5, colour=GREEN)


def _held(tokens: int) -> list[int | None]:
    """Which position lies in each slot: each token's key is its position, so the cache tells."""
    cache = KeyValueCache((1, 1, CAPACITY, 1), torch.float64, torch.device("cpu"), ring=True)
    for p in range(tokens):
        k = torch.full((1, 1, 1, 1), float(p), dtype=torch.float64)
        cache.extend(k, k)
    return [int(cache.keys[0, 0, slot, 0]) if slot < tokens else None for slot in range(CAPACITY)]
