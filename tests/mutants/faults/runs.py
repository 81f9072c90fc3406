"""Faults in mingpt/runs/: checkpoints, resuming, callbacks, logs."""

from tests.mutants.fault import Fault

CHECKPOINT = "mingpt/runs/checkpoint.py"
FITS = "mingpt/runs/compatibility.py"
CALLBACKS = "mingpt/runs/callbacks.py"
RUN = "mingpt/runs/run.py"
FOLDER = "mingpt/runs/run_dir.py"

FAULTS = [
    Fault(
        CHECKPOINT,
        'if sha256(contents[name]) != expected["sha256"]:',
        "if False:",
        "the manifest's checksums are not checked",
    ),
    Fault(CHECKPOINT, 'if not content.endswith(b"}\\n"):', "if False:", "a manifest that is cut short passes"),
    Fault(
        CHECKPOINT,
        'set(manifest["files"]) - {CARRIED} != set(FILES)',
        "False",
        "the manifest's list of files is not checked",
    ),
    Fault(
        CHECKPOINT,
        "for step in found:",
        "for step in found[:1]:",
        "no fall-back to the checkpoint before a damaged one",
    ),
    Fault(CHECKPOINT, "for entry in found[:-2]:", "for entry in found[:-1]:", "one checkpoint is kept"),
    Fault(CHECKPOINT, "best = min(with_loss,", "best = max(with_loss,", "the worst checkpoint is kept"),
    Fault(CHECKPOINT, "if each > step]", "if False]", "damaged later checkpoints stay"),
    Fault(
        CHECKPOINT,
        "    os.replace(draft, final)\n",
        "    shutil.copytree(draft, final)\n",
        "a checkpoint is copied into place",
    ),
    Fault(CHECKPOINT, "if first[_identity(tensors[name])] == name", "if True", "tied weights are stored twice"),
    Fault(CHECKPOINT, "require_modest_header(file.read(8))", "file.read(8)", "a huge header of a checkpoint is parsed"),
    Fault(
        CHECKPOINT,
        "and not model.grows(name):\n            differences",
        ":\n            differences",
        "n-gram tables of another length are rejected",
    ),
    Fault(
        FITS,
        "if theirs.to_json() != tokenizer.to_json():",
        "if theirs.vocab_size != tokenizer.vocab_size:",
        "vocabularies are compared by size",
    ),
    Fault(FITS, "if theirs != ours and name not in NOT_OF_THE_FUNCTION", "if False", "model settings are not compared"),
    Fault(
        FITS,
        "return torch.cat((trained[:rows], fresh[rows:]))",
        "return torch.cat((fresh[:rows], fresh[rows:]))",
        "trained positions are thrown away",
    ),
    Fault(CALLBACKS, '"val_loss": evaluated_loss(record)', '"val_loss": None', "checkpoints have no validation loss"),
    Fault(
        CALLBACKS,
        "if trainer.last or trainer.due(trainer.config.save_every):",
        "if trainer.due(trainer.config.save_every):",
        "a stopped run saves nothing",
    ),
    Fault(CALLBACKS, "bool(local(tensor).isfinite().all())", "True", "a weight that is not finite is saved"),
    Fault(
        CALLBACKS, 'seed=derived_seed(trainer.seed, "sample", number)', "seed=number", "samples ignore the run's seed"
    ),
    Fault(RUN, 'derived_seed(config.system.seed, "weights")', "0", "every run starts from the same weights"),
    Fault(RUN, '"seed": derived_seed(seed, "batches")', '"seed": 0', "every run has the same batches"),
    Fault(
        RUN,
        "trainer.restore(saved.optimizer, saved.carried, progress)",
        "trainer.restore(saved.optimizer, {}, progress)",
        "a resumed run starts without its recurrent state",
    ),
    Fault(
        RUN,
        "checkpoint.load_weights(model, saved.model, saved.folder)\n    elif",
        "pass\n    elif",
        "a resumed run starts from fresh weights",
    ),
    Fault(
        CALLBACKS,
        "Evaluate(corpus.data.validation,",
        "Evaluate(corpus.data.train,",
        "a run is evaluated on its training set",
    ),
    Fault(RUN, "model.to(to).eval()", "model.to(to)", "a loaded model is in training mode"),
    Fault(
        "mingpt/runs/metrics_log.py",
        'if line["step"] <= until))',
        "))",
        "a resumed run keeps lines that it writes again",
    ),
    Fault("mingpt/runs/metrics_log.py", "self._file.flush()", "pass", "lines are not flushed"),
    Fault(
        "mingpt/runs/baselines.py",
        "kneser_ney_losses(data.train,",
        "kneser_ney_losses(data.validation,",
        "baselines count the validation set",
    ),
    Fault(
        "mingpt/runs/ngram_trainer.py",
        "loss = self.model.fit(self.ids)",
        "loss = self.model.fit(self.ids[:-1])",
        "the last token is not counted",
    ),
]
