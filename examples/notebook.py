"""mingpt from Python, cell by cell, after `pip install -e .`: run it whole, or as a notebook (VS Code, Spyder and
jupytext read `# %%`).

It learns a text of a few lines in seconds and leaves what it makes in a temporary folder.
"""

# %% A run: every setting has a default, and is checked when it is given.
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import mingpt

here = Path(tempfile.mkdtemp())
text = here / "text.txt"
lines = "Tomorrow, and tomorrow, and tomorrow,\nCreeps in this petty pace from day to day\n"
text.write_text(lines * 30, encoding="utf-8")

config = mingpt.Config(
    system=mingpt.SystemConfig(work_dir=str(here / "run"), seed=1),
    data=mingpt.DataConfig(path=str(text), block_size=32),
    model=mingpt.ModelSettings(n_layer=2, n_embd=32, rope=True),
    trainer=mingpt.TrainerConfig(max_iters=60, sample_every=0, eval_every=0, device="cpu"),
    sample=mingpt.SampleConfig(prompts=("Tomorrow",), tokens=60),
    wandb=mingpt.WandbConfig(mode="disabled"),
)
run = mingpt.train(config, say=print)

# %% What it writes, and how well it tells the held-out text.
print(run.generate("Tomorrow", 60, temperature=0.5))
judged = run.evaluate()
print(f"{judged.nats:.3f} nats per token, {judged.bits_per_byte:.3f} bits per byte")

# %% The same run from its folder: model, tokenizer and settings.
run = mingpt.load(here / "run")
print(run.model)
print(f"{run.model.parameter_count:,} parameters")
print("characters:", repr(run.tokenizer.decode(range(run.tokenizer.vocab_size))))

# %% Who reads whom: the weights of every head, (1, heads, queries, keys) for each layer.
weights = run.attention("Tomorrow")
print(weights[0][0, 0].numpy().round(2))

# %% A model alone: a PyTorch module, ids in, logits and a loss out.
ids = torch.from_numpy(run.tokenizer.encode("Creeps in this").astype("int64"))[None]
output = run.model(ids[:, :-1], targets=ids[:, 1:])
print(output.logits.shape, output.loss.item())
print("a guess among all would cost", math.log(run.tokenizer.vocab_size))

# %% Token by token, from any model that predicts the next one.
drawn = mingpt.generate(run.model, ids, 20, mingpt.Sampling(temperature=0.7, top_k=5, seed=3))
print("".join(run.tokenizer.decode(token.tolist()) for token in drawn))

# %% Another idea is another setting: a window of 4, on the same batches in the same order.
place = replace(config.system, work_dir=str(here / "window"))
other = mingpt.train(replace(config, system=place, model=replace(config.model, window=4)))
print(f"{judged.nats:.3f} nats without a window, {other.evaluate().nats:.3f} with one")

# %% Untrained models of other families, of the same interface.
for model in (
    mingpt.RNN(mingpt.ModelConfig(type="rnn", cell="gru", n_layer=1, n_embd=16, vocab_size=11)),
    mingpt.GPT(mingpt.ModelConfig(n_layer=1, n_embd=16, vocab_size=11, position="alibi")),
):
    state = model.new_state(batch=1)
    print(type(model).__name__, model(torch.tensor([[3, 1, 4]]), state=state).logits.shape, state.length)

# %% To Hugging Face and back: the same weights under another's names, and its tokenizer.
exported = mingpt.export(run, here / "exported")
print(exported.class_name, sorted(path.name for path in exported.folder.iterdir()))
again = mingpt.load(mingpt.import_folder(exported.folder, here / "again"))
print(again.generate("Tomorrow", 20, seed=5) == run.generate("Tomorrow", 20, seed=5))
