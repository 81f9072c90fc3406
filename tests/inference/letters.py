"""Texts of eleven letters, drawn at random."""

import numpy as np

from mingpt.data.tokenizers import CharTokenizer

LETTERS = CharTokenizer("abcdefghijk")  # 11, as the tiny model's vocabulary; one byte each


def random_ids(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(11, size=length).astype(np.uint8)
