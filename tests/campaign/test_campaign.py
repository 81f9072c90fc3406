"""Every campaign loses no trial: a few of them in the quick suite, all behind `slow`."""

import json
from pathlib import Path

import pytest

from tests import campaign as campaigns
from tests.campaign import __main__ as table
from tests.campaign.every import CAMPAIGNS
from tests.campaign.tally import Campaign, Tally

LAST = Path(table.__file__).with_name("last.json")


def lose_nothing(home: Path, name: str, trials: int) -> Tally:
    tally = CAMPAIGNS[name].make(home, trials)
    assert tally.lost == []
    assert tally.trials
    for what, limit in CAMPAIGNS[name].limits.items():
        assert tally.worst.get(what, 0) <= limit, what
    return tally


ALL = [pytest.param(n, marks=() if n in ("kills", "bit_flips") else pytest.mark.full) for n in CAMPAIGNS]


@pytest.mark.parametrize("name", ALL)
def test_no_trial_of_a_campaign_is_lost(tmp_path: Path, name: str) -> None:
    lose_nothing(tmp_path, name, CAMPAIGNS[name].quick)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CAMPAIGNS if CAMPAIGNS[name].whole > CAMPAIGNS[name].quick])
def test_no_trial_of_a_long_campaign_is_lost(tmp_path: Path, name: str) -> None:
    tally = lose_nothing(tmp_path, name, CAMPAIGNS[name].whole)
    assert tally.trials >= CAMPAIGNS[name].whole
    for kind, number in CAMPAIGNS[name].needed.items():
        assert tally.counts[kind] >= number, kind


def test_committed_figures_are_of_long_campaigns_without_a_loss() -> None:
    rows = {row["campaign"]: row for row in json.loads(LAST.read_bytes())["rows"]}
    assert rows.keys() == CAMPAIGNS.keys()
    for name, row in rows.items():
        assert row["survived"] == row["trials"] >= 1, name
        long = CAMPAIGNS[name].whole > CAMPAIGNS[name].quick  # else a table, which grows with the project
        assert row["trials"] >= CAMPAIGNS[name].whole or not long, name
        assert all(row["counts"][kind] >= number for kind, number in CAMPAIGNS[name].needed.items()), name
        assert all(row["worst"][what] <= limit for what, limit in CAMPAIGNS[name].limits.items()), name


def test_lost_trial_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def losing(home: Path, trials: int) -> Tally:
        tally = Tally()
        for number in range(trials):
            tally.trial(f"trial {number}", held=number != 1, why="gone")
            tally.saw("seconds", number)
        tally.count("inside")
        return tally

    monkeypatch.setitem(CAMPAIGNS, "losing", Campaign(losing, "loses", whole=3, quick=2, needed={}, limits={}))
    assert table.main(["losing", f"--out={tmp_path / 'out.json'}"]) == 1
    (row,) = json.loads((tmp_path / "out.json").read_bytes())["rows"]
    told = (row["trials"], row["survived"], row["counts"], row["worst"], row["lost"])
    assert told == (3, 2, {"inside": 1}, {"seconds": 2.0}, ["trial 1: gone"])
    said = capsys.readouterr().out
    assert "    lost: trial 1: gone\n" in said
    assert [cell.strip() for cell in said.splitlines()[2].split("|")[1:5]] == [
        *("losing", "3", "2", "1 inside; seconds 2"),
    ]


@pytest.mark.parametrize(
    "words",
    [["damage"], ["cuts", "--trails=20"], ["--trials=many"], ["--trials=0"], ["--quick=1"], ["--qui"], ["--out"]],
)
def test_word_that_means_nothing_is_rejected(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1


def test_broken_limit_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def slow(home: Path, trials: int) -> Tally:
        tally = Tally()
        tally.trial("trial", held=True)
        tally.saw("seconds", float(trials))
        return tally

    monkeypatch.setitem(CAMPAIGNS, "slow", Campaign(slow, "is slow", 3, 2, {}, {"seconds": 2.5, "MB": 1.0}))
    assert table.main(["slow", "--quick"]) == 0
    assert table.main(["slow"]) == 1
    assert "    broken limit: seconds: 3, more than 2.5\n" in capsys.readouterr().out
    assert table.main(["slow", "--trials=2"]) == 0


def test_documented_example_names_campaigns() -> None:
    (said,) = (line for line in str(campaigns.__doc__).splitlines() if line.rstrip().endswith("some"))
    names = said.split()[3:-1]
    assert names
    assert set(names) <= set(CAMPAIGNS)
