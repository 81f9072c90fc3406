"""`python -m tests.campaign`: the table; figures of single campaigns are put among those that `--out` has already."""

import datetime
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tests.campaign.every import CAMPAIGNS


def main(words: list[str]) -> int:
    names = [word for word in words if not word.startswith("--")] or list(CAMPAIGNS)
    out = next((Path(word.partition("=")[2]) for word in words if word.startswith("--out=")), None)
    trials = next((int(word.partition("=")[2]) for word in words if word.startswith("--trials=")), 0)
    rows, failed = [], False
    print(f"| {'campaign':14} | {'trials':>6} | {'survived':>8} | {'worst case':60} | {'seconds':>7} |")
    print(f"|{'-' * 16}|{'-' * 8}|{'-' * 10}|{'-' * 62}|{'-' * 9}|")
    for name in names:
        each = CAMPAIGNS[name]
        with tempfile.TemporaryDirectory() as home:
            began = time.monotonic()
            tally = each.make(Path(home), trials or (each.quick if "--quick" in words else each.whole))
            seconds = time.monotonic() - began
        failed |= bool(tally.lost)
        told = [f"{count} {kind}" for kind, count in tally.counts.items()]
        told += [f"{what} {value:.3g}" for what, value in tally.worst.items()]
        worst = "; ".join(told)
        print(f"| {name:14} | {tally.trials:6} | {tally.survived:8} | {worst:60} | {seconds:7.0f} |", flush=True)
        for lost in tally.lost:
            print(f"    lost: {lost}")
        rows.append(
            {
                "campaign": name,
                "about": each.about,
                "date": datetime.date.today().isoformat(),
                "torch": torch.__version__,
                "trials": tally.trials,
                "survived": tally.survived,
                "counts": tally.counts,
                "worst": {what: float(f"{value:.4g}") for what, value in tally.worst.items()},
                "seconds": round(seconds, 1),
                "lost": tally.lost,
            }
        )
        if out:
            out.write_text(json.dumps({"rows": among(rows, out)}, indent=1) + "\n", encoding="utf-8")
    return int(failed)


def among(rows: list[dict[str, Any]], out: Path) -> list[dict[str, Any]]:
    """These rows and those of other campaigns that `out` has already, in the table's order."""
    kept = {row["campaign"]: row for row in (json.loads(out.read_bytes())["rows"] if out.exists() else [])}
    kept |= {row["campaign"]: row for row in rows}
    return [kept[name] for name in CAMPAIGNS if name in kept]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
