"""What an audit found: one result per check, all of them as a report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PASS, FAIL, NOT_APPLICABLE = "pass", "fail", "not applicable"


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of one check.

    Attributes:
        outcome: PASS, FAIL or NOT_APPLICABLE
        summary: what was found, or why the check is not applicable, in one sentence without a full stop
        evidence: numbers and names that the sentence is made from, as JSON values
        reproduce: Python that shows a failure; "" otherwise
    """

    outcome: str
    summary: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    reproduce: str = ""


def passed(summary: str, **evidence: Any) -> Result:
    """Return the result of a check that passes."""
    return Result(outcome=PASS, summary=summary, evidence=evidence)


def failed(summary: str, reproduce: str, **evidence: Any) -> Result:
    """Return the result of a check that fails."""
    return Result(outcome=FAIL, summary=summary, evidence=evidence, reproduce=reproduce)


def not_applicable(why: str, **evidence: Any) -> Result:
    """Return the result of a check that can't be asked of a target."""
    return Result(outcome=NOT_APPLICABLE, summary=why, evidence=evidence)


@dataclass(frozen=True, repr=False)
class Report:
    """Results of all checks, by name of the check.

    Attributes:
        target: name of what was audited
        facts: what is known of it, as JSON values
    """

    target: str
    facts: Mapping[str, Any]
    results: Mapping[str, Result]
    seconds: float

    @property
    def failing(self) -> list[str]:
        """Names of the checks that fail."""
        return [name for name, result in self.results.items() if result.outcome == FAIL]

    @property
    def passed(self) -> bool:
        """True if no check fails."""
        return not self.failing

    def __repr__(self) -> str:
        rows = [f"  {name:14}{result.outcome:16}{result.summary}" for name, result in self.results.items()]
        return "\n".join([f"<audit of {self.target}: {self.verdict}>", *rows])

    @property
    def verdict(self) -> str:
        """The outcome in a phrase, as `look_ahead, cache fail` or `5 checks pass, 2 not applicable`."""
        if self.failing:
            return f"{', '.join(self.failing)} {'fails' if len(self.failing) == 1 else 'fail'}"
        outcomes = [result.outcome for result in self.results.values()]
        others = outcomes.count(NOT_APPLICABLE)
        return f"{outcomes.count(PASS)} checks pass{f', {others} not applicable' if others else ''}"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "target": self.target,
            "passed": self.passed,
            "failing": self.failing,
            "seconds": round(self.seconds, 1),
            "facts": dict(self.facts),
            "checks": {
                name: vars(result) | {"evidence": {key: _plain(value) for key, value in result.evidence.items()}}
                for name, result in self.results.items()
            },
        }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: infinities and NaN are names."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def listed(names: Sequence[object]) -> str:
    """Return names with commas between, and `and` before the last."""
    words = [str(name) for name in names]
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
