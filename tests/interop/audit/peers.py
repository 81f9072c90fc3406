"""Models of other projects, as factories: `chargpt audit tests.interop.audit.peers:nanogpt`.

PEERS names a folder with clones of nanoGPT and minGPT, and with the packages that are not installed.  The survey
(`python -m tests.interop.audit.survey --peers`) audits all of them.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

FOLDER = Path(os.environ.get("PEERS", "peers"))
VOCABULARY, BLOCK = 11, 32


def moved(model: nn.Module) -> nn.Module:
    """The model with every parameter moved, so that none hides behind a zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


class Wrapped(nn.Module):
    """A model whose logits of all positions come out if it is given targets, as nanoGPT's."""

    vocab_size, block_size = VOCABULARY, BLOCK

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = moved(model)

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> Any:
        return self.model(ids, ids if targets is None else targets)


def loaded(path: Path, name: str, **others: ModuleType) -> ModuleType:
    """A module from its file; `others` stand in for modules of the names, with underscores, that it imports."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    names = {key.replace("_", "."): value for key, value in others.items()}
    before = {key: sys.modules.get(key) for key in names}
    sys.modules.update({name: module, **names})
    try:
        spec.loader.exec_module(module)
    finally:
        for key, value in before.items():
            sys.modules.pop(key)
            if value is not None:
                sys.modules[key] = value
    return module


def nanogpt() -> nn.Module:
    """GPT of nanoGPT's model.py."""
    theirs = loaded(FOLDER / "nanoGPT" / "model.py", "their_nanogpt")
    config = theirs.GPTConfig(block_size=BLOCK, vocab_size=VOCABULARY, n_layer=2, n_head=2, n_embd=16, dropout=0.1)
    return Wrapped(theirs.GPT(config))


def mingpt() -> nn.Module:
    """GPT of minGPT's mingpt/model.py, whose package has the name of this one."""
    folder = FOLDER / "minGPT" / "mingpt"
    theirs = loaded(folder / "model.py", "their_mingpt", mingpt_utils=loaded(folder / "utils.py", "their_utils"))
    config = theirs.GPT.get_default_config()
    config.merge_from_dict({"model_type": None, "n_layer": 2, "n_head": 2, "n_embd": 16})
    config.merge_from_dict({"vocab_size": VOCABULARY, "block_size": BLOCK})
    return Wrapped(theirs.GPT(config))


def installed(name: str) -> Any:
    """A package, from the folder of peers if it isn't installed."""
    sys.path.append(str(FOLDER / "site"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER / "site"))


class State:
    """What a package returns to go on from."""

    def __init__(self) -> None:
        self.kept: Any = None
        self.ids: Tensor | None = None


class XTransformer(nn.Module):
    """TransformerWrapper of x-transformers, with its cache: it is given all tokens so far, and a cache of the first."""

    vocab_size, block_size = VOCABULARY, BLOCK

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        theirs = installed("x_transformers")
        layers = theirs.Decoder(dim=16, depth=2, heads=2, attn_dim_head=8, **settings)
        self.net = moved(theirs.TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=BLOCK, attn_layers=layers))

    def new_state(self, batch: int) -> State:
        return State()

    def forward(self, ids: Tensor, state: State | None = None) -> Tensor:
        if state is None:
            return self.net(ids)
        pieces = [ids] if state.kept is None else ids.split(1, dim=1)
        return torch.cat([self._step(piece, state) for piece in pieces], dim=1)

    def _step(self, ids: Tensor, state: State) -> Tensor:
        state.ids = ids if state.ids is None else torch.cat((state.ids, ids), dim=1)
        logits, state.kept = self.net(state.ids, cache=state.kept, return_intermediates=True)
        return logits[:, -ids.shape[1] :]


def x_transformers() -> nn.Module:
    """The default decoder of x-transformers, with learned positions."""
    return XTransformer()


def x_transformers_rotary() -> nn.Module:
    """The same with rotary positions, RMSNorm and gated feed-forward layers."""
    return XTransformer(rotary_pos_emb=True, use_rmsnorm=True, ff_glu=True)


def x_transformers_alibi() -> nn.Module:
    """The same with ALiBi."""
    return XTransformer(alibi_pos_bias=True)


def x_transformers_shift() -> nn.Module:
    """The same with features shifted by a token (`shift_tokens`)."""
    return XTransformer(shift_tokens=1)


class MinLM(nn.Module):
    """minLM of minGRU-pytorch, with its hidden states, which go on by one token."""

    vocab_size, block_size = VOCABULARY, BLOCK

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.net = moved(installed("minGRU_pytorch.minLM").minLM(num_tokens=VOCABULARY, dim=16, depth=2, **settings))
        if self.net.can_cache:
            self.new_state = lambda batch: State()

    def forward(self, ids: Tensor, state: State | None = None) -> Tensor:
        if state is None:
            return self.net(ids)
        out = []
        for piece in [ids] if state.kept is None else ids.split(1, dim=1):
            logits, state.kept = self.net(piece, return_prev_hiddens=True, prev_hiddens=state.kept)
            out.append(logits)
        return torch.cat(out, dim=1)


def min_gru() -> nn.Module:
    """minGRU of minGRU-pytorch."""
    return MinLM()


def min_lstm() -> nn.Module:
    """minLSTM of the same package."""
    return MinLM(use_lstm=True)


def min_gru_convolution() -> nn.Module:
    """minGRU with its causal convolution."""
    return MinLM(enable_conv=True)


FACTORIES = {
    "nanoGPT 3adf61e": nanogpt,
    "minGPT 37baab7": mingpt,
    "x-transformers 2.31.10": x_transformers,
    "x-transformers 2.31.10, rotary": x_transformers_rotary,
    "x-transformers 2.31.10, ALiBi": x_transformers_alibi,
    "x-transformers 2.31.10, shift_tokens": x_transformers_shift,
    "minGRU-pytorch 0.2.1": min_gru,
    "minGRU-pytorch 0.2.1, minLSTM": min_lstm,
    "minGRU-pytorch 0.2.1, convolution": min_gru_convolution,
}
