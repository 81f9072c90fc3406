"""Long campaigns of faults against real runs; each is also a test, short in the quick suite and whole behind `slow`.

    python -m tests.campaign                  all of them, as a table; `--out=FILE` keeps the figures as JSON
    python -m tests.campaign kills cuts       some
    python -m tests.campaign --quick          few trials of each; `--trials=20`: so many

A campaign is a function (home, trials) -> Tally: it makes that many trials in the empty folder `home`.
"""
