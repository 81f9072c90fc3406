"""Faults in mingpt/model.py and mingpt/models/: layers, initialisation, recurrent and n-gram models."""

from tests.mutants.fault import Fault

GPT = "mingpt/model.py"
AUTOGRAD = "mingpt/models/cpu_autograd.py"
CONV = "mingpt/models/short_conv.py"
DROPOUT = "mingpt/models/dropout.py"
INIT = "mingpt/models/init.py"
MLP = "mingpt/models/mlp.py"
BASE = "mingpt/models/base.py"
NGRAM = "mingpt/models/ngram.py"
COUNTS = "mingpt/models/ngram_counts.py"
RNN = "mingpt/models/rnn.py"
CELLS = "mingpt/models/recurrent/cells.py"
LAYERS = "mingpt/models/recurrent/layers.py"
SCAN = "mingpt/models/recurrent/elman_scan.py"

FAULTS = [
    Fault(
        GPT,
        "x = x + self.attention(self.attention_norm(x), cache)",
        "x = self.attention(self.attention_norm(x), cache)",
        "no residual around attention",
    ),
    Fault(
        GPT,
        "self.convolution(self.mlp_norm(x), recent)",
        "self.convolution(self.attention_norm(x), recent)",
        "the MLP reads the other norm",
    ),
    Fault(GPT, "logits = self.head(self.final_norm(x))", "logits = self.head(x)", "no final norm"),
    Fault(
        GPT,
        "self.head.weight = self.embedding.weight",
        "self.head.weight.data.copy_(self.embedding.weight)",
        "tied embeddings are a copy",
    ),
    Fault(
        GPT,
        "> self.config.block_size and (state",
        "> self.config.block_size + 1 and (state",
        "GPT takes a token past the block",
    ),
    Fault(
        GPT,
        "x = self.position.embed(x, start)",
        "x = self.position.embed(x)",
        "learned positions start at 0 after a cache",
    ),
    Fault(
        GPT, "return windowed and not self.position.bounded", "return windowed", "learned positions pass for unbounded"
    ),
    Fault(GPT, "return 2 * weights + sum(", "return weights + sum(", "a FLOP per weight"),
    Fault(
        GPT,
        "family(config) if seed is None else seeded(family, seed, config)",
        "family(config)",
        "weights are drawn unseeded",
    ),
    Fault(AUTOGRAD, "return (grad * r).mul_(2)", "return grad * r", "gradient of relu squared halved"),
    Fault(
        AUTOGRAD,
        "addcmul_(normed, mean, value=-1)",
        "addcmul_(normed, mean, value=1)",
        "sign in the gradient of RMSNorm",
    ),
    Fault(
        AUTOGRAD,
        "return _rotate(grad, cos, sin, -1), None, None",
        "return _rotate(grad, cos, sin, 1), None, None",
        "gradient of a rotation turns the wrong way",
    ),
    Fault(
        AUTOGRAD,
        "of_x[:, :-lag].addcmul_(grad[:, lag:], row)",
        "of_x[:, lag:].addcmul_(grad[:, :-lag], row)",
        "gradient of the convolution looks back",
    ),
    Fault(AUTOGRAD, "div_(x.shape[-1]).add_(eps)", "div_(x.shape[-1])", "fused RMSNorm without eps"),
    Fault(AUTOGRAD, "return x.requires_grad and _full", "return _full", "fused passes in inference"),
    Fault(AUTOGRAD, ".tanh() @ v[..., None])", ".sigmoid() @ v[..., None])", "additive score, elsewhere, another one"),
    Fault(AUTOGRAD, ".mul_(2).sigmoid_()", ".sigmoid_()", "additive score with another activation"),
    Fault(AUTOGRAD, "value=-1).mul_(g[..., None])", "value=-1)", "additive score ignores the gradient from above"),
    Fault(
        CONV, "recent.copy_(padded[:, t:])", "recent.copy_(padded[:, :before])", "convolution remembers stale inputs"
    ),
    Fault(
        CONV, "torch.zeros(width - 1, channels)", "torch.zeros(width, channels)", "convolution reaches one further back"
    ),
    Fault(
        DROPOUT,
        "return dropout(x, self.p) if self.training else x",
        "return dropout(x, self.p)",
        "dropout in evaluation",
    ),
    Fault(DROPOUT, "return scale.mul_(LEVELS / (LEVELS - dropped))", "return scale", "dropout without its scale"),
    Fault(
        DROPOUT,
        "words.random_(-(2**63), None, generator=utils.generator())",
        "words.random_(-(2**63), None)",
        "dropout draws from the global generator",
    ),
    Fault(
        DROPOUT,
        "dropped - LEVELS // 2, out=scale",
        "dropped - LEVELS // 4, out=scale",
        "dropout of another probability",
    ),
    Fault(
        INIT,
        "_normal(model, 0.02 / math.sqrt(2 * n_layer))",
        "_normal(model, 0.02)",
        "residual projections start unscaled",
    ),
    Fault(INIT, 'if not getattr(layer, "is_output_head", False)}', "}", "Muon takes the output head"),
    Fault(INIT, "_normal(model, 0.0)", "_normal(model, 0.02)", "zero_residual is not zero"),
    Fault(
        INIT,
        "torch.stack((angle.sin(), angle.cos()), dim=-1)",
        "torch.stack((angle.sin(), angle.sin()), dim=-1)",
        "waves without cosines",
    ),
    Fault(
        MLP, "F.silu(self.gate(x)) * self.up(x)", "F.silu(self.up(x)) * self.gate(x)", "SwiGLU with gate and up swapped"
    ),
    Fault(
        MLP, "8 * ((8 * width // 3 + 7) // 8)", "8 * ((12 * width // 3 + 7) // 8)", "SwiGLU is wider than two layers"
    ),
    Fault(MLP, 'nn.GELU(approximate="tanh")', "nn.GELU()", "gelu is the exact one"),
    Fault(
        "mingpt/models/norms.py",
        "return nn.LayerNorm(width, eps=1e-5 if eps is None else eps, bias=bias)",
        "return nn.LayerNorm(width, bias=bias)",
        "norm_eps has no effect on LayerNorm",
    ),
    Fault("mingpt/models/norms.py", "eps=1e-6 if", "eps=1e-5 if", "another eps of RMSNorm"),
    Fault(BASE, "module.training = was", "module.training = True", "evaluating leaves training mode on"),
    Fault(BASE, "with torch.no_grad():\n            yield", "yield", "evaluation keeps a graph"),
    Fault(
        NGRAM,
        "torch.arange(grams.shape[1], device=self.device) >= n - 2",
        "torch.arange(grams.shape[1], device=self.device) >= n - 1",
        "an order too low at a block's start",
    ),
    Fault(
        NGRAM,
        "below = shares[BELOW] + by_row[BELOW] * below",
        "below = shares[BELOW] + by_row[TOP] * below",
        "back-off weight of the wrong row",
    ),
    Fault(
        NGRAM,
        "return (counts - less) / totals.clamp(min=1)",
        "return counts / totals.clamp(min=1)",
        "Kneser-Ney without discounts",
    ),
    Fault(
        NGRAM,
        "state.length + torch.arange(1, idx.shape[1] + 1,",
        "torch.arange(1, idx.shape[1] + 1,",
        "the n-gram model forgets how far it is",
    ),
    Fault(
        NGRAM,
        "if not (integers and is_valid(",
        "if False and not (integers and is_valid(",
        "counts of a checkpoint are not checked",
    ),
    Fault(
        COUNTS,
        "(1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2,",
        "(1 - 2 * y * n2 / n1, 2 - 2 * y * n3 / n2,",
        "discount of counts of two",
    ),
    Fault(
        COUNTS,
        "(counts == 1, counts == 2, counts > 2)",
        "(counts == 1, counts == 2, counts > 3)",
        "counts of three are lost",
    ),
    Fault(
        COUNTS,
        "seen[-1][BELOW] = np.bincount(shorter[1:][example]",
        "seen[-1][BELOW] = np.bincount(shorter[1:]",
        "lower orders count occurrences",
    ),
    Fault(
        RNN, "state.advance(idx.shape[1], after)", "state.advance(idx.shape[1], before)", "recurrent state stays stale"
    ),
    Fault(
        RNN,
        "tuple(each.detach().clone() for each in hidden)",
        "tuple(each.clone() for each in hidden)",
        "recurrent state keeps its graph",
    ),
    Fault(
        RNN, "idx.masked_fill(~masked, -100)", "idx.masked_fill(masked, -100)", "the masked loss scores what is visible"
    ),
    Fault(
        RNN,
        "generator = utils.generator() if idx.device",
        "generator = None if idx.device",
        "masks are drawn from the global generator",
    ),
    Fault(
        RNN,
        "self._read(idx.masked_fill(masked, self.config.vocab_size), idx.shape[1])",
        "self._read(idx, idx.shape[1])",
        "infilling sees the masked token",
    ),
    Fault(
        RNN,
        "self._check_length(state.length + idx.shape[1])",
        "pass",
        "birnn state is not limited to the block",
        equivalent="`_read` checks the same length of the joined ids right after",
    ),
    Fault(CELLS, "(h[:, -1],)", "(h[:, 0],)", "Elman hands on its first state"),
    Fault(
        CELLS,
        "self.output.bias - self.centre * self.output.weight.sum(1)",
        "self.output.bias",
        "bias of Elman's features not centred",
    ),
    Fault(
        CELLS,
        "y, (h, c) = self.rnn(x, (h[None], c[None]))",
        "y, (h, c) = self.rnn(x, (h[None], h[None]))",
        "LSTM's cell state is lost",
    ),
    Fault(CELLS, "y, h = self.rnn(x, h[None])", "y, h = self.rnn(x)", "GRU starts anew at each call"),
    Fault(LAYERS, "back.gather(1, reverse)), dim=-1)", "back), dim=-1)", "backward features in reversed order"),
    Fault(
        LAYERS,
        "x, now = cell(self.dropout(x) if number else x, before)",
        "x, now = cell(x, before)",
        "no dropout between recurrent layers",
    ),
    Fault(LAYERS, "lengths - 1].unflatten", "0 * lengths].unflatten", "a prefix is read at its first position"),
    Fault(
        LAYERS,
        "(lengths[:, None] - 1 - torch.arange(t, device=x.device)) % t",
        "(t - 1 - torch.arange(t, device=x.device)).expand(len(x), t)",
        "padding is reversed with the text",
    ),
    Fault(
        SCAN,
        "g[0] @ w_hidden if needed[1] else None",
        "g[0] if needed[1] else None",
        "gradient of the first hidden state",
    ),
    Fault(
        SCAN,
        "rows.sum(0) if needed[3] else None",
        "rows.mean(0) if needed[3] else None",
        "gradient of the bias is a mean",
    ),
    Fault(
        SCAN,
        "rows.T @ buffer[:-1].flatten(0, 1)",
        "rows.T @ buffer[1:].flatten(0, 1)",
        "gradient of W_hh from the wrong step",
    ),
    Fault(SCAN, "buffer[0] = hidden", "buffer[0] = 0", "the scan forgets the state before it"),
]
