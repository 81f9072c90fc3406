"""Would the tests notice?  Small faults are planted one at a time in a copy of the tree, and tests run until one fails.

    python -m tests.mutants record          which lines each test executes, in .mutants/ (runs all tests, 15 minutes)
    python -m tests.mutants run             plant every fault that results.json doesn't have yet; resumable
    python -m tests.mutants run banded      those whose names have this text, again
    python -m tests.mutants run --quick     on tests of the quick suite alone; a survivor is tried on the others later
    python -m tests.mutants table           results.md, from results.json

A fault is tried first on tests of the quick suite that execute its lines; if they all pass, on the other tests of
`--all` that do.  One that none notices has survived: a new test must notice it, or its entry in faults/ must say why it
changes nothing (`equivalent`).
"""
