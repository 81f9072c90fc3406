"""`chargpt bench play` visits the page: every wait is timed, and the page is as small as it was meant to be."""

from pathlib import Path
from typing import Any

from mingpt.benchmarks import play


def test_visit_times_every_wait_and_the_page_is_below_its_limit(root: Path, serve: Any) -> None:
    with serve(root, root / "gpt") as client:
        seen = play.visit(client.page.url, 2)
    assert {name: len(seconds) for name, seconds in seen["seconds"].items()} == dict.fromkeys(
        ("first token", "slider", "attention", "first token, another tab writes"), 2
    )
    assert all(second > 0 for seconds in seen["seconds"].values() for second in seconds)
    assert 50_000 < seen["page_bytes"] < play.LIMITS["page_bytes"]
