"""Faults in mingpt/trainer.py, mingpt/training/, mingpt/utils.py and mingpt/distributed/."""

from tests.mutants.fault import Fault

TRAINER = "mingpt/trainer.py"
OPTIM = "mingpt/training/optim.py"
TBPTT = "mingpt/training/tbptt.py"
UTILS = "mingpt/utils.py"
THREADS = "mingpt/distributed/threads.py"

FAULTS = [
    Fault(TRAINER, "    optimizer.zero_grad()\n\n\ndef _auto", "\n\ndef _auto", "zero_grad is missing"),
    Fault(TRAINER, "self.config.grad_norm_clip or math.inf", "math.inf", "gradients are not clipped"),
    Fault(
        TRAINER,
        'derived_seed(self.seed, "dropout", step, *self.processes.path)',
        'derived_seed(self.seed, "dropout")',
        "every step has the same dropout",
    ),
    Fault(
        TRAINER,
        'derived_seed(self.seed, "dropout", step, "piece", number)',
        'derived_seed(self.seed, "dropout", step, "piece")',
        "pieces have the same dropout",
    ),
    Fault(TRAINER, "loss = loss / self.micro_batches", "loss = loss", "accumulated gradients are a sum"),
    Fault(
        TRAINER,
        "state=state).loss / (self.micro_batches * self.pieces)",
        "state=state).loss / self.micro_batches",
        "gradients of pieces are a sum",
    ),
    Fault(
        TRAINER,
        "if not (math.isfinite(loss) and math.isfinite(grad_norm))",
        "if not math.isfinite(loss)",
        "a gradient that is not finite is applied",
    ),
    Fault(
        TRAINER,
        "self.progress.step, self.progress.tokens = step + 1, self.progress.tokens + targets.numel()",
        "self.progress.step, self.progress.tokens = step + 1, self.progress.tokens + len(targets)",
        "tokens are counted by rows",
    ),
    Fault(
        TRAINER,
        "self.progress = progress\n",
        "self.progress.step = progress.step\n",
        "a resumed run forgets its tokens and seconds",
    ),
    Fault(
        TRAINER,
        "load_optimizer_tensors(optimizer_state, self.model, self.optimizers)",
        "pass",
        "a resumed run forgets its optimizer",
    ),
    Fault(
        TRAINER,
        'group["lr"] = group["peak_lr"] * fraction',
        'group["lr"] = config.learning_rate * fraction',
        "Muon takes AdamW's learning rate",
    ),
    Fault(
        TRAINER,
        "fraction = rate_at(\n            step,",
        "fraction = rate_at(\n            step + 1,",
        "learning rate of the next step",
    ),
    Fault(TRAINER, "self.model.train()\n        started", "started", "training starts in evaluation mode"),
    Fault(
        TRAINER,
        "(every > 0 and self.progress.step % every == 0)",
        "(every > 0 and self.progress.step % every == 1)",
        "evaluation a step late",
    ),
    Fault(
        TRAINER, "self.recurrent_states.restore(recurrent_state)", "pass", "a resumed run forgets its recurrent state"
    ),
    Fault(OPTIM, "return (step + 1) / warmup_iters", "return step / warmup_iters", "warm-up starts at zero"),
    Fault(
        OPTIM,
        "0.5 * (1.0 + math.cos(math.pi * done))",
        "0.5 * (1.0 + math.cos(0.5 * math.pi * done))",
        "cosine ends half way",
    ),
    Fault(
        OPTIM,
        "final_fraction + (1 - final_fraction) * SCHEDULES",
        "final_fraction + SCHEDULES",
        "decay starts above the peak",
    ),
    Fault(
        OPTIM,
        '[p for p in parameters if p.ndim < 2], "weight_decay": 0.0',
        '[p for p in parameters if p.ndim < 2], "weight_decay": weight_decay',
        "norms and biases decay",
    ),
    Fault(OPTIM, "lr=lr, betas=betas, fused=fused)", "lr=lr, fused=fused)", "AdamW ignores trainer.betas"),
    Fault(OPTIM, 'torch._foreach_lerp(gradients, averages, group["momentum"])', "averages", "Muon without Nesterov"),
    Fault(OPTIM, "math.sqrt(max(1.0, rows / columns))", "1.0", "Muon's tall matrices are not scaled"),
    Fault(
        OPTIM,
        '1 - group["lr"] * group["weight_decay"])',
        '1 - group["weight_decay"])',
        "Muon's decay without its learning rate",
    ),
    Fault(
        OPTIM, "return x.mT if tall else x\n\n\nQUINTIC", "return x\n\n\nQUINTIC", "Muon of tall matrices is transposed"
    ),
    Fault(OPTIM, "gram = step @ gram @ step", "gram = step @ gram", "Newton-Schulz by the Gram matrix loses a factor"),
    Fault(
        OPTIM,
        "[p for name, p in model.named_parameters() if name not in matrices]",
        "list(model.parameters())",
        "matrices are updated twice",
    ),
    Fault(OPTIM, "if slots.keys() != needed:", "if False:", "another optimizer's state is loaded"),
    Fault(TBPTT, "if self._fresh(step):", "if self._fresh(step) or step % 2:", "recurrent states are reset too often"),
    Fault(
        TBPTT,
        "if saved.get(name) != own.get(name):",
        "if name not in own:",
        "a recurrent state of another shape is taken",
    ),
    Fault(TBPTT, 'state.length = int(tensors[f"{part}/length"])', "pass", "a restored state has no length"),
    Fault(UTILS, "repr((seed, *path))", "repr(path)", "derived seeds ignore the seed"),
    Fault(UTILS, "_of_thread.generator = before", "pass", "seeded_generator stays after its block"),
    Fault(
        UTILS, "own.set_state(torch.default_generator.get_state())", "pass", "two draws with one generator are equal"
    ),
    Fault(UTILS, "_generator_of(kind).set_rng_state(state)", "pass", "the caller's random state is not restored"),
    Fault(
        THREADS,
        "finally:\n        torch.set_num_threads(before)",
        "finally:\n        pass",
        "the caller's threads are not restored",
    ),
    Fault(THREADS, "math.ceil(max(min(threads, _quota()), 1))", "threads", "a container's quota is ignored"),
    Fault(
        UTILS,
        "for name in set(os.environ) - before:\n                del os.environ[name]",
        "pass",
        "environment variables of the compiler stay",
    ),
]
