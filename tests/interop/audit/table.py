"""Write docs/audit-models.md from the results of the survey: `python -m tests.interop.audit.table`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mingpt.interop.audit.checks import in_order
from mingpt.interop.audit.results import FAIL, NOT_APPLICABLE, PASS
from mingpt.report.table import Table, to_markdown
from tests.interop.audit.survey import RESULTS
from tests.interop.audit.tiny_models import causal_classes

PAGE = Path(__file__).parents[3] / "docs" / "audit-models.md"
Found = Mapping[str, Any]


def page() -> str:
    """The page."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    classes, peers, versions = kept["classes"], kept.get("peers", {}), kept["versions"]
    audited = {name: found for name, found in classes.items() if "results" in found}
    failing = {name: found for name, found in audited.items() if fails(found)}
    counts = {
        "types": len(classes),
        "audited": len(audited),
        "passing": len(audited) - len(failing),
        "failing": len(failing),
        "others": len(classes) - len(audited),
    }
    parts = (
        HEAD.format(**versions, **counts),
        to_markdown(failures(failing)),
        PEERS,
        to_markdown(overview(peers)),
        "## Every class",
        to_markdown(overview(audited)),
        "## Not audited",
        to_markdown(not_audited(classes)),
    )
    return "\n\n".join(parts)


HEAD = """\
# Audit: what was found in other models

transformers {transformers}, PyTorch {torch}, on a CPU. Each causal-LM class is built small from its config, with random
weights, and audited in a process of its own (`python -m tests.interop.audit.survey`). This page is made by
`python -m tests.interop.audit.table`; [audit.md](audit.md) says what each check means.

{types} model types: {audited} audited, of which {passing} pass every check that applies and {failing} fail one;
{others} could not be built small or called with ids alone.

## Failures

`confirmed` is what `python -m tests.interop.audit.confirm` measures with transformers alone, in float32: a share of
the largest logit, or of the loss, which is below 1e-6 or so where nothing is wrong. A failure says that results
differ, not that each is a fault of the library: padding on the left moves a model that counts positions from the
first column, as some are meant to, and a loss that isn't shifted is what some decoders document. Know of it when you
compare them."""
PEERS = """\
## Other projects

nanoGPT and minGPT by clone, the others from PyPI (`PEERS=FOLDER python -m tests.interop.audit.survey --peers`).
x-transformers with `shift_tokens=1`: `generate` writes another greedy text with `cache_kv=True` than without."""


def fails(found: Found) -> list[str]:
    """Names of the checks that fail."""
    return [name for name, (outcome, _) in found.get("results", {}).items() if outcome == FAIL]


def title(name: str) -> str:
    """The class of a model type, with the type."""
    return f"{causal_classes()[name]} ({name})" if name in causal_classes() else name


def failures(failing: Mapping[str, Found]) -> Table:
    """A row per failing check."""
    rows = [
        [title(name), check, found["results"][check][1], confirmed(found, check)]
        for name, found in failing.items()
        for check in fails(found)
    ]
    return Table(heads=["class", "check", "what was found", "confirmed"], rows=rows, names=3)


def confirmed(found: Found, check: str) -> str:
    """What was measured without the audit."""
    size = found.get("confirmed", {}).get(check)
    return "" if size is None else f"{size:.2g}"


def overview(audited: Mapping[str, Found]) -> Table:
    """A row per class, a column per check."""
    rows = [[title(name), *signs(found)] for name, found in audited.items()]
    return Table(heads=["class", *in_order()], rows=rows, names=1)


def signs(found: Found) -> Iterator[str]:
    """The outcome of each check, in a word."""
    for name in in_order():
        outcome = found["results"][name][0] if "results" in found else NOT_APPLICABLE
        yield {PASS: "pass", FAIL: "FAIL", NOT_APPLICABLE: "–"}[outcome]


def not_audited(classes: Mapping[str, Found]) -> Table:
    """A row per class without results."""
    rows = [[title(name), found["error"][:110]] for name, found in classes.items() if "error" in found]
    return Table(heads=["class", "why"], rows=rows, names=2)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
