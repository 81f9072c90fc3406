"""Settings of runs that see what they predict."""

FULL = ("--model.mask=full",)
MASKED = ("--model.type=birnn", "--model.objective=masked")
LEARNED = ("--data.block_size=16", "--trainer.max_iters=150", "--trainer.eval_every=0", "--wandb.mode=disabled")
