"""Faults in mingpt/inference/: generation, evaluation, the causality check."""

from tests.mutants.fault import Fault

GENERATE = "mingpt/inference/generate.py"
EVALUATE = "mingpt/inference/evaluate.py"
CAUSALITY = "mingpt/inference/causality.py"
PAST = "mingpt/inference/past_block.py"
DECODE = "mingpt/inference/compiled_decode.py"

FAULTS = [
    Fault(
        GENERATE, "torch.multinomial(p, 1, generator=generator)", "torch.multinomial(p, 1)", "sampling is not seeded"
    ),
    Fault(
        GENERATE,
        "torch.Generator().manual_seed(sampling.seed)",
        "torch.Generator().manual_seed(0)",
        "sample.seed has no effect",
    ),
    Fault(
        GENERATE,
        "state.length + fresh.shape[1] <= block_size)",
        "state.length + fresh.shape[1] < block_size)",
        "the cache is dropped a token early",
    ),
    Fault(
        GENERATE,
        "if not (cache and unbounded):  # the state",
        "if cache and unbounded:  # the state",
        "text past the block forgets what was drawn",
    ),
    Fault(
        GENERATE,
        "evaluating(model) if model.training else",
        "torch.inference_mode() if model.training else",
        "samples during training have dropout",
    ),
    Fault(GENERATE, 'if id < len(self._spelling) else b""', "", "a model with more rows than tokens ends generation"),
    Fault(GENERATE, "int(token) not in stop, drawn)", "True, drawn)", "generation goes past the stop token"),
    Fault(
        GENERATE,
        "int(p.masked_fill(~masked[0].cpu(), -1).argmax())",
        "int(p.masked_fill(~masked[0].cpu(), 2).argmin())",
        "the least certain gap is filled first",
    ),
    Fault(GENERATE, '("replace")', '("ignore")', "invalid bytes vanish"),
    Fault(
        GENERATE,
        "logits.amax(-1, keepdim=True)) / sampling.temperature",
        "logits.amax(-1, keepdim=True)) * sampling.temperature",
        "temperature is inverted",
    ),
    Fault(GENERATE, ".indices[:, sampling.top_k :]", ".indices[:, sampling.top_k + 1 :]", "top_k keeps one more"),
    Fault(
        GENERATE,
        "before = ordered.cumsum(-1) - ordered",
        "before = ordered.cumsum(-1)",
        "top_p drops the token that reaches it",
    ),
    Fault(GENERATE, "p < sampling.min_p * p.amax(-1, keepdim=True)", "p < sampling.min_p", "min_p is absolute"),
    Fault(
        GENERATE,
        "[:, None if unbounded else -kept :]",
        "[:, None if unbounded else -kept + 1 :]",
        "a token less is encoded again",
    ),
    Fault(
        EVALUATE,
        "return nats / math.log(2) / int(lengths[tokens].sum())",
        "return nats / math.log(2) / len(tokens)",
        "bits per token for bits per byte",
    ),
    Fault(
        EVALUATE,
        "targets = window[:, -part.scored :].flatten()",
        "targets = window[:, -part.scored - 1 : -1].flatten()",
        "evaluation scores the inputs",
    ),
    Fault(
        "mingpt/inference/windows.py",
        "rest = [Windows(ids[None, full * stride :], left)] if left else []",
        "rest = []",
        "the short last block is left out",
    ),
    Fault(EVALUATE, "each if counts else (0.0, NONE) for each", "each for each", "padding parts of a process count"),
    Fault(
        "mingpt/inference/windows.py",
        "np.linspace(0, full - 1, kept)",
        "np.linspace(0, kept - 1, kept)",
        "at_most takes the beginning",
    ),
    Fault(
        EVALUATE,
        "if not model.autoregressive:\n        raise",
        "if False:\n        raise",
        "a bidirectional model gets a validation loss",
    ),
    Fault(
        EVALUATE,
        "position = leaking_position(model) if verify else None",
        "position = None",
        "no causality check before a validation loss",
    ),
    Fault(EVALUATE, "state = model.new_state(1)\n", "state = None\n", "stateful loss without a state"),
    Fault(
        EVALUATE,
        "masked = torch.eye(len(text), dtype=torch.bool, device=text.device)[places.start : places.stop]",
        "masked = torch.eye(len(text), dtype=torch.bool, device=text.device)[: len(places)]",
        "pseudo-likelihood masks the first tokens",
    ),
    Fault(
        CAUSALITY,
        "torch.where(positions >= at, other, idx)",
        "torch.where(positions > at, other, idx)",
        "a cut replaces a token too few",
    ),
    Fault(CAUSALITY, "moved.triu(1).nonzero()", "moved.triu(2).nonzero()", "the nearest future token may leak"),
    Fault(
        CAUSALITY,
        "tests.append((prefix, list(range(1, prefix))))",
        "tests.append((prefix, list(range(2, prefix))))",
        "the first cut is not tested",
    ),
    Fault(CAUSALITY, "(before.isnan() & after.isnan())", "before.isnan() | after.isnan()", "a NaN hides a change"),
    Fault(CAUSALITY, "distances.clamp_min(smallest) *", "distances *", "a change lost in rounding is no dependency"),
    Fault(CAUSALITY, "masked[:, j] = True", "masked[:, 0] = True", "self_dependencies masks one position only"),
    Fault(
        PAST,
        'stretch = size - PAST_BLOCK["half"].kept(size) + 1',
        'stretch = size - PAST_BLOCK["half"].kept(size)',
        "stretches are one short",
    ),
    Fault(
        PAST,
        ".logits[:, kept - 1 :], window[:, kept:]",
        ".logits[:, kept - 1 :], window[:, kept - 1 : -1]",
        "past_block scores the inputs",
    ),
    Fault(
        DECODE,
        "scale = k.shape[-1] ** -0.5 if scale is None else scale",
        "scale = k.shape[-1] ** -0.5",
        "compiled attention ignores its scale",
    ),
    Fault(DECODE, "row if bias is None else row + bias", "row", "compiled linear layer drops its bias"),
]
