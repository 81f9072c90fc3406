"""A record goes on with its own definition alone, and keeps what was found so far."""

from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import UsageError
from mingpt.experiments.experiment_record import begin, update
from mingpt.report.experiment_files import read_record

DEFINITION: dict[str, Any] = {
    "name": "one",
    "form": "standard",
    "learning_rates": None,
    "text": {"path": "text.txt", "sha256": "0" * 64},
    "arms": {"a": [{"model.n_layer": 1}]},
    "inputs": {"a": [{}]},
}
CHANGED = [
    ({"name": "other"}, "name was one, is other"),
    ({"form": "full"}, "form was standard, is full"),
    ({"text": {"path": "t.txt", "sha256": "1" * 64}}, "the text was text.txt, is t.txt, another one"),
    ({"arms": {"a": [{"model.n_layer": 2}]}}, "variant a stage 1: model.n_layer was 1, is 2"),
    ({"arms": {"a": [{"model.n_layer": 1}] * 2}}, "variant a had 1 stages, has 2"),
    ({"arms": {"a": [{"model.n_layer": 1}], "b": []}, "inputs": {"a": [{}], "b": []}}, "variant b is new"),
]


@pytest.mark.parametrize(("changed", "said"), CHANGED, ids=[said for _, said in CHANGED])
def test_other_definition_is_rejected_and_nothing_is_written(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    begin(tmp_path, DEFINITION, "run one", None, 3, "--fresh")
    before = read_record(tmp_path)
    with pytest.raises(UsageError) as rejected:
        begin(tmp_path, {**DEFINITION, **changed}, "run other", None, 3, "--fresh puts it aside")
    assert said in str(rejected.value)
    assert str(rejected.value).endswith("; --fresh puts it aside")
    assert read_record(tmp_path) == before


def test_same_definition_goes_on_with_its_seeds_and_findings(tmp_path: Path) -> None:
    assert begin(tmp_path, DEFINITION, "run one", 7, 3, "") == 7
    update(tmp_path, trials={"cells/a/seed-1": "0123"})
    assert begin(tmp_path, DEFINITION, "run one again", None, 3, "") == 7
    assert read_record(tmp_path)["trials"] == {"cells/a/seed-1": "0123"}
