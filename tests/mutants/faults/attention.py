"""Faults in mingpt/models/attention/: masks, scores, positions, kernels and the KV cache."""

from tests.mutants.fault import Fault

MASKS = "mingpt/models/attention/masks.py"
SCORES = "mingpt/models/attention/scores.py"
POSITIONS = "mingpt/models/attention/positions.py"
LAYERS = "mingpt/models/attention/layers.py"
CACHE = "mingpt/models/attention/kv_cache.py"
MAPS = "mingpt/models/attention/attention_maps.py"
KERNELS = "mingpt/models/attention/kernels"

FAULTS = [
    Fault(
        MASKS, "Mask(lambda i, j: i >= j, causal", "Mask(lambda i, j: i + 1 >= j, causal", "causal mask sees one ahead"
    ),
    Fault(MASKS, "(i >= j) & (i - j < width)", "(i >= j) & (i - j <= width)", "window is one too wide"),
    Fault(MASKS, "width * (width + 1) // 2 +", "width * (width - 1) // 2 +", "pairs of a band without the diagonal"),
    Fault(
        MASKS,
        "None if None in bands else min(",
        "None if None in bands else max(",
        "band of an intersection is the wider",
    ),
    Fault(
        MASKS, "self.sees(i, j) & other.sees(i, j)", "self.sees(i, j) | other.sees(i, j)", "an intersection is a union"
    ),
    Fault(SCORES, "self.scale = 1 / math.sqrt(config.head_width)", "self.scale = 1.0", "scaled_dot without its scale"),
    Fault(SCORES, "(torch.eye(d) / math.sqrt(d))", "torch.eye(d)", "multiplicative starts unscaled"),
    Fault(SCORES, "return q @ self.weight.mT", "return q @ self.weight", "multiplicative weight transposed"),
    Fault(
        SCORES,
        "k.repeat_interleave(heads // k.shape[1], dim=1)",
        "k.repeat(1, heads // k.shape[1], 1, 1)",
        "head map swapped",
    ),
    Fault(
        SCORES,
        "of_query = q @ (self.v @ self.query).mT",
        "of_query = q @ (self.v @ self.key).mT",
        "linear_concat uses W_k for q",
    ),
    Fault(
        POSITIONS,
        "m = torch.arange(start + 1, stop + 1,",
        "m = torch.arange(1, stop - start + 1,",
        "RoPE ignores the cache's length",
    ),
    Fault(POSITIONS, "(-torch.arange(0, self.d, 2,", "(-2 * torch.arange(0, self.d, 2,", "RoPE exponent doubled"),
    Fault(POSITIONS, "scaled_frequencies(frequency, self.scaling)", "frequency", "rope_scaling has no effect"),
    Fault(POSITIONS, "slopes[:, None, None] * (j - i)", "slopes[:, None, None] * (i - j)", "ALiBi prefers far keys"),
    Fault(
        POSITIONS,
        "x + self.table.weight[start : start + x.shape[1]]",
        "x + self.table.weight[: x.shape[1]]",
        "learned position ignores start",
    ),
    Fault(
        POSITIONS,
        "return slopes + between[: heads - power]",
        "return slopes + slopes[: heads - power]",
        "ALiBi slopes of 6 heads repeat",
    ),
    Fault(
        LAYERS,
        "dropout_p=self.attn_pdrop if self.training else 0.0",
        "dropout_p=self.attn_pdrop",
        "attention dropout in evaluation",
    ),
    Fault(
        LAYERS,
        "self.position.rotate(self.score.prepare(q), k, start)",
        "self.position.rotate(self.score.prepare(q), k, 0)",
        "layer passes no start to RoPE",
    ),
    Fault(
        LAYERS,
        "k = self.k_norm(_split_heads",
        "k = self.q_norm(_split_heads",
        "keys are normalised by the queries' norm",
    ),
    Fault(
        LAYERS,
        "ring = band is not None and band <= capacity",
        "ring = band is not None and band < capacity",
        "window of block_size gets no ring",
    ),
    Fault(
        LAYERS,
        "return AttentionOutput(self.resid_dropout(y), weights)",
        "return AttentionOutput(y, weights)",
        "no dropout of attention's output",
    ),
    Fault(
        LAYERS,
        "(token + (pair + 2 * self.d) * self.mask",
        "(token + pair * self.mask",
        "FLOPs without the weighted sum",
    ),
    Fault(LAYERS, "query_at=start,", "query_at=None,", "queries after a ring have other positions"),
    Fault(
        CACHE,
        "self.keys[:, :, before % self.capacity] = k[:, :, 0]",
        "self.keys[:, :, (before - 1) % self.capacity] = k[:, :, 0]",
        "ring writes to a stale slot",
    ),
    Fault(
        CACHE,
        "self.values[:, :, before % self.capacity] = v[:, :, 0]",
        "self.values[:, :, before % self.capacity] = k[:, :, 0]",
        "ring stores keys as values",
    ),
    Fault(
        CACHE,
        "return last - (last - slots) % self.capacity",
        "return last - (last - slots) % self.capacity + 1",
        "positions of a ring are one off",
    ),
    Fault(
        CACHE,
        "if not self.ring and before + t > self.capacity",
        "if not self.ring and before + t > self.capacity + 1",
        "cache takes a token too many",
    ),
    Fault(CACHE, "+ (before - len(old))", "", "positions of a chunk over a ring start at 0"),
    Fault(CACHE, "return 2 * self.keys.numel()", "return self.keys.numel()", "bytes of the cache without the values"),
    Fault(MAPS, "layer.kernel = kernel", "pass", "attention_weights leaves the reference kernel"),
    Fault(MAPS, "model.eval()", "pass", "attention_weights under dropout"),
    Fault(
        f"{KERNELS}/reference.py",
        "+ need.bias(i, j).to(logits.dtype)",
        "+ 0 * need.bias(i, j).to(logits.dtype)",
        "reference drops the position bias",
    ),
    Fault(f"{KERNELS}/reference.py", "dropout(weights, need.dropout_p) @", "weights @", "reference has no dropout"),
    Fault(
        f"{KERNELS}/sdpa.py",
        "need.mask.band >= need.keys",
        "need.mask.band >= need.keys - 1",
        "sdpa takes a window of N - 1 for causal",
    ),
    Fault(f"{KERNELS}/sdpa.py", "scale=need.score.scale,", "", "sdpa uses its own scale"),
    Fault(
        f"{KERNELS}/sdpa.py",
        "causal and need.full_sequence and need.bias is None",
        "causal and need.bias is None",
        "sdpa is_causal for a chunk after a cache",
    ),
    Fault(
        f"{KERNELS}/sdpa.py",
        "need.bias(i, j).to(q.dtype).masked_fill(~seen, -math.inf)",
        "need.bias(i, j).to(q.dtype)",
        "sdpa drops the mask under a bias",
    ),
    Fault(
        f"{KERNELS}/banded.py",
        "(i < j) | (i - j >= window)",
        "(i < j) | (i - j > window)",
        "banded window is one too wide",
    ),
    Fault(
        f"{KERNELS}/banded.py",
        "return dq.mul_(scale), dk.mul_(scale), dv",
        "return dq.mul_(scale), dk, dv",
        "banded gradient of keys unscaled",
    ),
    Fault(f"{KERNELS}/banded.py", "h * x.shape[1] // heads", "h % x.shape[1]", "banded head map swapped"),
    Fault(
        f"{KERNELS}/banded.py",
        "yield Run(length - rest, 1, rest, before + rest)",
        "yield Run(length - rest, 1, rest, rest)",
        "banded tail forgets keys",
    ),
    Fault(
        f"{KERNELS}/banded.py",
        ".bernoulli_(1 - p, generator=generator).div_(1 - p)",
        ".bernoulli_(1 - p, generator=generator)",
        "banded dropout unscaled",
    ),
    Fault(
        f"{KERNELS}/banded.py",
        "dropped, of_weights = drop(weights,",
        "dropped, of_weights = (lambda *x: x)(weights,",
        "banded backward without the dropout mask",
    ),
    Fault(
        f"{KERNELS}/banded.py",
        "(need.bias is not None,",
        "(False and need.bias is not None,",
        "banded ignores a position bias",
    ),
    Fault(
        f"{KERNELS}/chunked_sdpa.py",
        ".triu_().tril_(window - 1)",
        ".triu_().tril_(window)",
        "chunked window is one too wide",
    ),
    Fault(
        f"{KERNELS}/chunked_sdpa.py",
        "keys = slice(start - window + 1, end)",
        "keys = slice(start - window + 2, end)",
        "chunked keys start one late",
    ),
    Fault(
        f"{KERNELS}/chunked_sdpa.py",
        "dk[:, :, chunk.keys] += of_keys[:, first::shared]",
        "dk[:, :, chunk.keys] = of_keys[:, first::shared]",
        "chunked gradient is overwritten",
    ),
    Fault(f"{KERNELS}/chunked_sdpa.py", '(need.dropout_p > 0, "it has no dropout"),', "", "chunked ignores dropout"),
    Fault(f"{KERNELS}/flex.py", '"scale": need.score.scale,', "", "flex uses its own scale"),
    Fault(
        f"{KERNELS}/flex.py",
        "return mask.sees(i, j)",
        "return i >= j if mask.band else mask.sees(i, j)",
        "flex ignores the window",
    ),
    Fault(
        f"{KERNELS}/base.py",
        "first = self.keys - self.queries if",
        "first = 0 if",
        "positions of queries after a cache start at 0",
    ),
]
