"""To and from Hugging Face: a run as a folder that `transformers` loads, and such a folder as a run.

    weights         where each of our layers lies in a model of theirs, and their tensors as ours and back
    architectures   the classes of theirs that compute what ours do, and which one a model needs
    vocabulary      a tokenizer as the tokenizer.json of their `tokenizers` library
    special         special tokens and chat templates of a folder
    reading         a folder of theirs, read as untrusted input
    parity          a folder compared with the run that it was made of: logits and text, by their code and by ours
    exporting       `chargpt export`
    importing       `chargpt import`

transformers is needed for `parity` alone, and nothing of a folder is ever unpickled or run.
"""
