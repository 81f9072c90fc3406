"""Faults in mingpt/interop/: import from and export to Hugging Face."""

from tests.mutants.fault import Fault

EXPORT = "mingpt/interop/exporting.py"
IMPORT = "mingpt/interop/importing.py"
WEIGHTS = "mingpt/interop/weights.py"
VOCABULARY = "mingpt/interop/vocabulary.py"
SPECIAL = "mingpt/interop/special.py"

FAULTS = [
    Fault(
        WEIGHTS,
        "upright = tensor.mT if turned and tensor.ndim == 2 else tensor",
        "upright = tensor",
        "GPT-2's weights stay transposed",
    ),
    Fault(WEIGHTS, "upright.chunk(parts)[part]", "upright.chunk(parts)[0]", "queries are loaded as keys and values"),
    Fault(
        WEIGHTS,
        "name: tensor.mT.contiguous() if name in turned else tensor",
        "name: tensor",
        "exported weights are not turned",
    ),
    Fault(IMPORT, "if not tied and found[name].count_nonzero():", "if False:", "a bias that ours has not is dropped"),
    Fault(IMPORT, "if stored[name].shape != tuple(tensor.shape):", "if False:", "shapes of a folder are not compared"),
    Fault(
        IMPORT,
        "if unknown := sorted(stored.keys() - expected.keys()):",
        "if unknown := []:",
        "unknown tensors are ignored",
    ),
    Fault(
        IMPORT, "if tokenizer.vocab_size > config.vocab_size:", "if False:", "a vocabulary larger than the model passes"
    ),
    Fault(IMPORT, "if where.dtype not in DTYPES:", "if False:", "quantised weights are taken as they are"),
    Fault(
        EXPORT,
        "if folder.exists():\n            folder.rmdir()",
        "pass",
        "an empty folder is not replaced",
        equivalent="os.replace puts a folder in the place of an empty one on POSIX; the line is for Windows",
    ),
    Fault(
        EXPORT,
        "p.detach().cpu().to(dtype) for name, p in run.model",
        "p.detach().cpu() for name, p in run.model",
        "dtype of an export has no effect",
    ),
    Fault(
        VOCABULARY,
        '"pattern": {"Regex": r"[\\s\\S]"}',
        '"pattern": {"Regex": r"."}',
        "exported characters lose line ends",
    ),
    Fault(SPECIAL, "0 <= id < vocab_size]", "0 <= id]", "special ids beyond the model are kept"),
    Fault(
        SPECIAL,
        "for id in generated or configured if",
        "for id in configured or generated if",
        "config.json wins over generation_config.json",
    ),
]
