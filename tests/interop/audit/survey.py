"""Audit a tiny random model of every causal-LM class of transformers: `python -m tests.interop.audit.survey`.

Each class is audited in a process of its own, with a limit of time and memory; results are kept as they come, so that
the command goes on where it was stopped.  `--again=TYPE,...` audits some once more; `--peers` audits other projects'
models.  `python -m tests.interop.audit.table` writes the table.
"""

import json
import multiprocessing
import resource
import sys
import traceback
import warnings
from pathlib import Path
from queue import Empty
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "survey.json"
SECONDS, BYTES = 150, 10 << 30


def audited(model_type: str, queue: Any) -> None:
    """Audit one class, and put what was found."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    warnings.simplefilter("ignore")
    import torch

    from mingpt.interop.audit.auditing import audit
    from tests.interop.audit.peers import FACTORIES
    from tests.interop.audit.tiny_models import tiny_model

    torch.set_num_threads(1)
    try:
        model = FACTORIES[model_type]() if model_type in FACTORIES else tiny_model(model_type)
    except BaseException as error:
        queue.put({"error": one_line("not built", error)})
        return
    try:
        report = audit(model, seconds=SECONDS / 3)
    except BaseException as error:
        queue.put({"error": one_line("not called", error)})
        if "--debug" in sys.argv:
            traceback.print_exc()
        return
    results = {name: [result.outcome, result.summary] for name, result in report.results.items()}
    kept = ("parameters", "vocab_size", "block_size", "dtype")
    queue.put({"results": results, "facts": {key: report.facts[key] for key in kept}})


def one_line(what: str, error: BaseException) -> str:
    """An error as a short line."""
    return f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:160]}"


def survey(types: list[str], found: dict[str, Any]) -> None:
    """Audit classes, each in a process of its own, and keep every result at once."""
    context = multiprocessing.get_context("fork")
    for number, model_type in enumerate(types, 1):
        queue = context.Queue()
        process = context.Process(target=audited, args=(model_type, queue))
        process.start()
        try:
            found[model_type] = queue.get(timeout=SECONDS)
        except Empty:
            found[model_type] = {"error": f"no result within {SECONDS} s"}
        process.join(2)
        process.kill()
        keep(found)
        said = found[model_type].get("error") or [k for k, v in found[model_type]["results"].items() if v[0] == "fail"]
        print(f"{number}/{len(types)} {model_type}: {said or 'passes'}", flush=True)


def keep(found: dict[str, Any]) -> None:
    """Write all results, in the order of their names."""
    import torch
    import transformers

    from tests.interop.audit.peers import FACTORIES

    parts = {name: {k: v for k, v in sorted(found.items()) if (k in FACTORIES) == own} for name, own in PARTS.items()}
    write({"versions": {"transformers": transformers.__version__, "torch": torch.__version__}, **parts})


def write(kept: dict[str, Any]) -> None:
    """Write all that is kept, a line per class."""
    groups = []
    for name, group in kept.items():
        lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in group.items()]
        groups.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    RESULTS.with_suffix(".new").write_text("{\n" + ",\n".join(groups) + "\n}\n", encoding="utf-8")
    RESULTS.with_suffix(".new").replace(RESULTS)


PARTS = {"classes": False, "peers": True}  # of the results; True: models of other projects


def main(words: list[str]) -> None:
    """Go on with the survey, or with some of it."""
    import transformers

    from tests.interop.audit.peers import FACTORIES
    from tests.interop.audit.tiny_models import causal_classes

    transformers.logging.set_verbosity_error()
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    found: dict[str, Any] = kept.get("classes", {}) | kept.get("peers", {})
    again = [t for word in words if word.startswith("--again=") for t in word.removeprefix("--again=").split(",")]
    wanted = list(FACTORIES) if "--peers" in words else [name for name in causal_classes() if name not in found]
    survey(again or wanted, found)


if __name__ == "__main__":
    main(sys.argv[1:])
