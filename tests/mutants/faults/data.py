"""Faults in mingpt/data/: texts, tokenizers, splits, prepared folders, batches."""

from tests.mutants.fault import Fault

BATCHES = "mingpt/data/batches.py"
SPLITS = "mingpt/data/splits.py"
TOKENIZERS = "mingpt/data/tokenizers.py"
MEMMAP = "mingpt/data/memmap.py"
PREPARE = "mingpt/data/prepare.py"
TEXTS = "mingpt/data/text_files.py"

FAULTS = [
    Fault(
        BATCHES,
        "return windows[:, :-1], windows[:, 1:]",
        "return windows[:, :-1], windows[:, :-1]",
        "targets are the inputs",
    ),
    Fault(
        BATCHES,
        "key=[self.seed, 0], counter=[0, 0, 0, step]",
        "key=[self.seed, 0], counter=[0, 0, 0, 0]",
        "every step has the same batch",
    ),
    Fault(
        BATCHES,
        "draws.integers(len(self.ids) - self.block_size, size",
        "draws.integers(len(self.ids) - self.block_size - 1, size",
        "the last block is never drawn",
    ),
    Fault(
        BATCHES,
        "key=[self.seed, 1], counter=[0, 0, 0, epoch]",
        "key=[0, 1], counter=[0, 0, 0, epoch]",
        "skipped tokens ignore the seed",
    ),
    Fault(BATCHES, "+ block * self.block_size", "+ (block + 1) * self.block_size", "streams begin a block late"),
    Fault(BATCHES, "return step % self.epoch == 0", "return step % self.epoch == 1", "states are reset a step late"),
    Fault(
        SPLITS,
        "(text[:first], text[first:second], text[second:])",
        "(text[:first], text[first - 1 : second], text[second:])",
        "a character is in both sets",
    ),
    Fault(
        SPLITS,
        "int(length * (1 - (val_fraction + test_fraction)))",
        "int(length * (val_fraction + test_fraction))",
        "training set and validation set swapped",
    ),
    Fault(SPLITS, "max(block_size + 1, fewest)", "max(block_size, fewest)", "a text of block_size tokens passes"),
    Fault(TOKENIZERS, "if found.min(initial=0) < 0:", "if False:", "unknown characters are not reported"),
    Fault(TOKENIZERS, "return cls(sorted(found))", "return cls(found)", "ids depend on the order of a set"),
    Fault(
        TOKENIZERS, "or len(set(vocabulary)) != max(len(vocabulary), 1)", "", "a vocabulary may have a character twice"
    ),
    Fault(
        TOKENIZERS, '.decode("utf-8", "replace")', '.decode("utf-8", "ignore")', "byte tokenizer drops invalid bytes"
    ),
    Fault(MEMMAP, 'if digest.hexdigest() != listed["sha256"]:', "if False:", "prepared ids are not checked"),
    Fault(MEMMAP, "if highest >= vocab_size:", "if highest > vocab_size:", "an id past the vocabulary passes"),
    Fault(MEMMAP, "if theirs != ours:", "if False:", "settings of a prepared folder are not compared"),
    Fault(
        PREPARE,
        "if first.digest.hexdigest() != second.digest.hexdigest():",
        "if False:",
        "a text that changes meanwhile is prepared",
    ),
    Fault(
        PREPARE,
        "self._left, self._at = chunk[len(found) :],",
        'self._left, self._at = "",',
        "text after the border in a chunk is lost",
    ),
    Fault(
        TEXTS,
        'getincrementaldecoder("utf-8-sig")',
        'getincrementaldecoder("utf-8")',
        "a byte order mark stays in the text",
    ),
    Fault(
        TEXTS,
        "return sorted(found)\n\n\ndef _fitting",
        "return found\n\n\ndef _fitting",
        "files of a folder in any order",
    ),
    Fault(
        "mingpt/data/downloads.py",
        "if digest.hexdigest() != sha256:",
        "if False:",
        "another file than was asked for is kept",
    ),
    Fault(
        "mingpt/data/prepared_folder.py",
        "path.is_symlink() or not path.is_file()",
        "not path.is_file()",
        "a link in a prepared folder is followed",
    ),
]
