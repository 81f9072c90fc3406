"""Which key/value head a query head uses, and the memory of fewer."""

import torch

from mingpt.models.attention.layers import AttentionConfig, GroupedQueryAttention
from mingpt.models.attention.scores import repeated

from .sheet import BLUE, GREEN, ORANGE, PURPLE, SOFT, Sheet, shade

H, D, TOKENS = 6, 32, 256
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#7a6a00", "#4d6273")
STEP = 0.38


def draw() -> Sheet:
    sheet = Sheet(8, 2.95)
    names = {6: "multi-head: g = h = 6", 2: "grouped: g = 2", 1: "multi-query: g = 1"}
    for number, (g, name) in enumerate(names.items()):
        left = 0.42 + number * 2.6
        middle = left + (H - 1) * STEP / 2
        sheet.title(middle, 0.22, name)
        reads = repeated(torch.arange(g).view(1, g, 1, 1), H).flatten().tolist()
        _links(sheet, left, g, reads)
        layer = GroupedQueryAttention(AttentionConfig(n_embd=H * D, n_query_head=H, n_kv_head=g))
        kept = layer.new_state(1, TOKENS).bytes
        numbers = sum(each.weight.numel() for each in (layer.k_proj, layer.v_proj))
        if number == 1:
            sheet.text(middle, 2.24, "one colour: they share keys and values", size=8.5, colour=SOFT)
        sheet.text(middle, 2.47, f"cache of {TOKENS} tokens: {kept // 1024:,} KiB", size=9)
        sheet.text(middle, 2.7, f"weights that make k and v: {numbers:,}", size=9, colour=SOFT)
    return sheet


def _links(sheet: Sheet, left: float, g: int, reads: list[int]) -> None:
    share = H // g
    at = [left + (head * share + (share - 1) / 2) * STEP for head in range(g)]
    for i, head in enumerate(reads):
        sheet.line([(left + i * STEP, 0.94), (at[head], 1.72)], COLOURS[head], 1.8)
    for i, head in enumerate(reads):
        sheet.disc(
            left + i * STEP, 0.8, 0.155, f"$q_{i}$", fill=shade(0.14, COLOURS[head]), edge=COLOURS[head], size=9.5
        )
    for head, x in enumerate(at):
        wide = 0.33 if share == 1 else 0.7
        text = f"$k_{head}$\n$v_{head}$" if share == 1 else f"$k_{head}, v_{head}$"
        sheet.box(x, 1.92, text, w=wide, h=0.46, fill=shade(0.3, COLOURS[head]), edge=COLOURS[head], size=9.5)
