"""One peer's training step, generation or attention, in a process of its own, driven by lines on its standard input.

    python peers.py KIND ASK     KIND: of KINDS; ASK: JSON: the `shape` that each takes, and as "path" a clone of that
                                 project, "" where it is installed

It answers `ready`, then to each line with a number of steps the JSON list of their seconds.  Run as a script, never
imported, because every project here calls its package by the same few names.
"""

import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

LEARNING_RATE, BETAS, WEIGHT_DECAY, CLIP = 5e-4, (0.9, 0.95), 0.1, 1.0
VOCABULARY = 65
SIZES = ("n_layer", "n_head", "n_embd", "block_size")

Step = Callable[[], object]


def _prompt(shape: dict[str, Any]) -> torch.Tensor:
    return torch.randint(VOCABULARY, (shape["batch"], shape["prompt"]))


def ours(name: str, shape: dict[str, Any]) -> Step:
    """This project's own, by their name in our_steps.py."""
    optimizer = {"learning_rate": LEARNING_RATE, "betas": BETAS, "weight_decay": WEIGHT_DECAY, "grad_norm_clip": CLIP}
    step: Step = getattr(importlib.import_module("mingpt.benchmarks.our_steps"), name)(shape, optimizer)
    return step


def mingpt(shape: dict[str, Any]) -> Step:
    """karpathy/minGPT: its model and optimizer groups, its loop written out without its data loader."""
    model = _mingpt_model(shape)
    optimizer = model.configure_optimizers(
        SimpleNamespace(learning_rate=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
    )
    return _plain_step(model, optimizer, shape)


def mingpt_trainer(shape: dict[str, Any]) -> Step:
    """karpathy/minGPT as it ships: its Trainer, its DataLoader with the workers that it defaults to.

    Its loop runs in a thread that is let on one step at a time.
    """
    trainer_class = importlib.import_module("mingpt.trainer").Trainer
    config = trainer_class.get_default_config()
    config.device, config.batch_size, config.learning_rate = "cpu", shape["batch_size"], LEARNING_RATE
    config.betas, config.weight_decay, config.grad_norm_clip, config.max_iters = BETAS, WEIGHT_DECAY, CLIP, None
    trainer = trainer_class(config, _mingpt_model(shape), _Windows(shape["block_size"]))
    wanted, done = threading.Semaphore(0), threading.Semaphore(0)

    def on_batch_end(_: Any) -> None:
        done.release()
        wanted.acquire()

    trainer.add_callback("on_batch_end", on_batch_end)
    threading.Thread(target=trainer.run, daemon=True).start()
    done.acquire()  # its first step, which it makes unasked

    def step() -> None:
        wanted.release()
        done.acquire()

    return step


class _Windows(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Windows of random ids, one at a time, as minGPT's loader asks for them."""

    def __init__(self, block_size: int) -> None:
        self.ids, self.block_size = torch.randint(VOCABULARY, (100_000,)), block_size

    def __len__(self) -> int:
        return len(self.ids) - self.block_size

    def __getitem__(self, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        window = self.ids[start : start + self.block_size + 1]
        return window[:-1], window[1:]


def _mingpt_model(shape: dict[str, Any]) -> Any:
    gpt = importlib.import_module("mingpt.model").GPT  # the peer's package of that name
    config = gpt.get_default_config()
    config.model_type, config.n_layer, config.n_head = None, shape["n_layer"], shape["n_head"]
    config.n_embd, config.vocab_size, config.block_size = shape["n_embd"], VOCABULARY, shape["block_size"]
    config.embd_pdrop = config.resid_pdrop = config.attn_pdrop = shape["dropout"]
    return gpt(config)


def nanogpt(shape: dict[str, Any]) -> Step:
    """karpathy/nanoGPT: its model and optimizer, its loop written out; on CUDA with its settings there."""
    model = _nanogpt_model(shape, shape["dropout"]).to(shape["device"])
    optimizer = model.configure_optimizers(WEIGHT_DECAY, LEARNING_RATE, BETAS, shape["device"])
    return _plain_step(torch.compile(model) if shape["compile"] else model, optimizer, shape)


def nanogpt_writing(shape: dict[str, Any]) -> Step:
    """karpathy/nanoGPT: its own `generate`, on as many rows and tokens as `shape` says."""
    model, prompt = _nanogpt_model(shape, 0.0).eval(), _prompt(shape)
    return lambda: model.generate(prompt, shape["tokens"], temperature=0.8)


def _nanogpt_model(shape: dict[str, Any], dropout: float) -> Any:
    peer, vocabulary = importlib.import_module("model"), shape.get("vocab_size", VOCABULARY)
    return peer.GPT(
        peer.GPTConfig(vocab_size=vocabulary, dropout=dropout, bias=True, **{name: shape[name] for name in SIZES})
    )


def transformers_writing(shape: dict[str, Any]) -> Step:
    """Hugging Face's GPT-2: its own `generate`, with its cache; its default of the 50 likeliest tokens is off.

    Its GELU is by erf, as in the others: its default, the tanh form written out, takes longer.
    """
    peer = importlib.import_module("transformers")
    config = peer.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=shape["block_size"],
        **{name: shape[name] for name in ("n_embd", "n_layer", "n_head")},
        activation_function="gelu",
        bos_token_id=None,
        eos_token_id=None,
    )
    model = peer.GPT2LMHeadModel(config).eval()
    prompt = _prompt(shape)
    settings = {"max_new_tokens": shape["tokens"], "do_sample": True, "temperature": 0.8, "top_k": 0, "use_cache": True}
    everything = torch.ones_like(prompt)
    return lambda: model.generate(prompt, attention_mask=everything, pad_token_id=0, **settings)


def x_transformers_writing(shape: dict[str, Any]) -> Step:
    """lucidrains/x-transformers: its own `generate`, with its cache, its block in GPT-2's sizes, but few biases.

    Its default of dropping nine tenths of the vocabulary before a draw is off: no other here does that.
    """
    peer = importlib.import_module("x_transformers")
    layers = peer.Decoder(
        dim=shape["n_embd"],
        depth=shape["n_layer"],
        heads=shape["n_head"],
        attn_dim_head=shape["n_embd"] // shape["n_head"],
        attn_flash=True,
    )
    net = peer.TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=shape["block_size"], attn_layers=layers)
    model = peer.AutoregressiveWrapper(net).eval()
    prompt = _prompt(shape)
    settings = {"temperature": 0.8, "filter_logits_fn": lambda logits: logits, "cache_kv": True}
    return lambda: model.generate(prompt, shape["tokens"], **settings)


def local_attention(shape: dict[str, Any]) -> Step:
    """lucidrains/local-attention, forward and backward: buckets of w queries read their own and the one before."""
    peer = importlib.import_module("local_attention")
    window = shape["window"]
    attend = peer.LocalAttention(
        window_size=window, causal=True, look_backward=1, exact_windowsize=True, autopad=True, use_rotary_pos_emb=False
    )
    q, k, v, grad = torch.randn(4, 1, shape["heads"], shape["length"], shape["width"])
    inputs = [x.requires_grad_() for x in (q, k, v)]
    return lambda: torch.autograd.grad(attend(*inputs), inputs, grad)


def _plain_step(model: Any, optimizer: torch.optim.Optimizer, shape: dict[str, Any]) -> Step:
    parts, vocabulary = shape.get("accumulation", 1), shape.get("vocab_size", VOCABULARY)
    size, cuda = (shape["batch_size"] // parts, shape["block_size"] + 1), shape["device"] == "cuda"
    model.train()

    def batch() -> list[torch.Tensor]:
        windows = torch.randint(vocabulary, size)
        sides = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
        return [side.pin_memory().to("cuda", non_blocking=True) if cuda else side for side in sides]

    ready = batch()

    def step() -> None:
        nonlocal ready
        optimizer.zero_grad(set_to_none=True)
        for _ in range(parts):
            with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
                _, loss = model(*ready)
            ready = batch()  # as nanoGPT's loop, while a GPU is busy
            (loss / parts).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    return step


KINDS: dict[str, Callable[[dict[str, Any]], Step]] = {
    "ours": partial(ours, "train"),
    "ours-openmp": partial(ours, "train_by_operation"),
    "ours-writing": partial(ours, "generate"),
    "ours-ddp": partial(ours, "train_ddp"),
    "ours-fsdp": partial(ours, "train_fsdp"),
    "mingpt": mingpt,
    "mingpt-trainer": mingpt_trainer,
    "nanogpt": nanogpt,
    "nanogpt-writing": nanogpt_writing,
    "transformers-writing": transformers_writing,
    "x-transformers-writing": x_transformers_writing,
    "local-attention": local_attention,
}


def main(kind: str, ask: str) -> None:
    """Serve timings until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # the peers print while they are built
    settings = json.loads(ask)
    if settings["path"]:
        sys.path.insert(0, settings["path"])
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as nanoGPT's train.py, for all
    step = KINDS[kind](settings)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        together = settings.get("device") == "cuda"  # whose steps run ahead of the host: their mean is all to be had
        seconds = [_timed(step, int(line))] if together else [_timed(step, 1) for _ in range(int(line))]
        print(json.dumps(seconds), file=answers, flush=True)


def _timed(step: Step, count: int) -> float:
    """Mean seconds of `count` steps."""
    began = time.perf_counter()
    for _ in range(count):
        step()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main(*sys.argv[1:])
