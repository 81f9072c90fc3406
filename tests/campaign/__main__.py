"""`python -m tests.campaign`: the table; figures of single campaigns are put among those that `--out` has already."""

import datetime
import json
import sys
import tempfile
import time
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.campaign.every import CAMPAIGNS


def main(words: Sequence[str]) -> int:
    """Ends with 1 where a trial was lost or a limit broken, with 2 where a word means nothing."""
    try:
        asked = understood(words)
    except ArgumentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names, out, trials = asked.names or list(CAMPAIGNS), asked.out, asked.trials
    rows, failed = [], False
    print(f"| {'campaign':14} | {'trials':>6} | {'survived':>8} | {'worst case':60} | {'seconds':>7} |")
    print(f"|{'-' * 16}|{'-' * 8}|{'-' * 10}|{'-' * 62}|{'-' * 9}|")
    for name in names:
        each = CAMPAIGNS[name]
        with tempfile.TemporaryDirectory() as home:
            began = time.monotonic()
            tally = each.make(Path(home), trials or (each.quick if asked.quick else each.whole))
            seconds = time.monotonic() - began
        broken = [
            f"{what}: {tally.worst[what]:.3g}, more than {limit:.3g}"
            for what, limit in each.limits.items()
            if not tally.worst.get(what, 0.0) <= limit
        ]
        failed |= bool(tally.lost or broken)
        told = [f"{count} {kind}" for kind, count in tally.counts.items()]
        told += [f"{what} {value:.3g}" for what, value in tally.worst.items()]
        worst = "; ".join(told)
        print(f"| {name:14} | {tally.trials:6} | {tally.survived:8} | {worst:60} | {seconds:7.0f} |", flush=True)
        for lost in tally.lost:
            print(f"    lost: {lost}")
        for limit in broken:
            print(f"    broken limit: {limit}")
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


def understood(words: Sequence[str]) -> Namespace:
    """Names of campaigns, `quick`, `trials` (None: as many as each has) and `out`.

    Raises:
        ArgumentError: anything else.
    """
    parser = ArgumentParser(prog="python -m tests.campaign", exit_on_error=False, allow_abbrev=False)
    names = parser.add_argument("names", nargs="*", metavar="CAMPAIGN", help=", ".join(CAMPAIGNS))
    parser.add_argument("--quick", action="store_true", help="few trials of each")
    trials = parser.add_argument("--trials", type=int, help="so many of each")
    parser.add_argument("--out", type=Path, help="a JSON file that is given the figures")
    asked, unknown = parser.parse_known_args(words)
    if unknown:
        raise ArgumentError(None, f"{unknown[0]}: there is no such flag")
    if asked.trials is not None and asked.trials < 1:
        raise ArgumentError(trials, f"{asked.trials}: must be at least 1")
    for name in asked.names:
        if name not in CAMPAIGNS:
            raise ArgumentError(names, f"{name}: must be one of {', '.join(CAMPAIGNS)}")
    return asked


def among(rows: list[dict[str, Any]], out: Path) -> list[dict[str, Any]]:
    """These rows and those of other campaigns that `out` has already, in the table's order."""
    kept = {row["campaign"]: row for row in (json.loads(out.read_bytes())["rows"] if out.exists() else [])}
    kept |= {row["campaign"]: row for row in rows}
    return [kept[name] for name in CAMPAIGNS if name in kept]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
