"""What a setting that doesn't exist was probably meant to be."""

import difflib
from collections.abc import Collection

from mingpt.core.registry import did_you_mean

ELSEWHERE = {  # what other projects call a setting, where another one's name lies nearer by its letters, or none does
    **dict.fromkeys(("n_head", "n_heads", "num_heads"), "n_query_head"),
    "lr": "learning_rate",
    **dict.fromkeys(("max_steps", "steps", "iters", "iterations", "epochs", "num_epochs"), "max_iters"),
    **dict.fromkeys(("context_length", "seq_len", "max_seq_len", "sequence_length"), "block_size"),
    "dropout": "resid_pdrop",
    **dict.fromkeys(("hidden_size", "d_model", "embed_dim"), "n_embd"),
    "past_block": "context",
}


def did_you_mean_setting(name: str, names: Collection[str]) -> str:
    """Return ` (did you mean 'model.n_embd'?)`, or nothing where no name is near; names may begin with a group."""
    leaves = {each.rpartition(".")[2]: each for each in names}  # most mistakes are in the group alone
    leaf = name.rpartition(".")[2]
    same = [ELSEWHERE[leaf]] if ELSEWHERE.get(leaf) in leaves else []
    near = same or difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.75)
    return f" (did you mean '{leaves[near[0]]}'?)" if near else did_you_mean(name, names)
