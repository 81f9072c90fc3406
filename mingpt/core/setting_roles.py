"""Which settings make no variant: where and how a run goes on, and what it reports, which change no result."""

SEED = "system.seed"
RUN = ("system.work_dir", "trainer.resume", "trainer.resume_changed")  # where a run is, and whether it goes on
EVALUATION = ("trainer.eval_every", "trainer.eval_tokens")  # change no weights, but the losses along the way
REPORTS = ("trainer.sample_every", "trainer.save_every")
REPORT_GROUPS = ("sample.", "wandb.")


def changes_no_result(key: str) -> bool:
    """Whether a setting changes neither weights nor losses: folders, resuming, samples, checkpoints, the W&B logger."""
    return key in (*RUN, *REPORTS) or key.startswith(REPORT_GROUPS)
