"""What a registry's source states is what the registry, loaded, has."""

import ast
from dataclasses import fields
from typing import Any

import pytest

from mingpt.core import variants
from mingpt.core.errors import UsageError
from mingpt.core.torchrun_env import DistConfig
from mingpt.core.variants import Variants
from mingpt.data.data_config import TOKENIZERS, DataConfig
from mingpt.model import FAMILIES
from mingpt.models.attention.config import MASKS, POSITIONS, SCORES
from mingpt.models.config import CELLS, CONFIGS, OBJECTIVES, READINGS, READOUTS
from mingpt.training.trainer_config import TrainerConfig

FACTS = [
    *((SCORES, "least_width"), (MASKS, "causal"), (POSITIONS, "rotates")),
    *((CELLS, "reads_out"), (READOUTS, "as_logits"), (READINGS, "autoregressive"), (OBJECTIVES, "masked")),
]
NAMED = {
    field.metadata["names"]
    for group in (*map(CONFIGS.__getitem__, CONFIGS), TrainerConfig, DataConfig, DistConfig)
    for field in fields(group)
    if isinstance(field.metadata.get("names"), Variants)
}


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No module is asked: only sources are."""
    monkeypatch.setattr(Variants, "_loaded", lambda self: None)


@pytest.mark.parametrize("offered", sorted(NAMED, key=lambda each: each.setting), ids=lambda offered: offered.setting)
def test_source_states_the_names_of_the_loaded_registry(offered: Variants, unloaded: None) -> None:
    loaded = offered.load()
    assert (offered.setting, list(offered)) == (loaded.setting, list(loaded))
    assert len(list(offered)) > 1
    with pytest.raises(UsageError) as there:
        loaded["nothing"]
    with pytest.raises(UsageError) as here:
        offered["nothing"]
    assert str(here.value) == str(there.value)


@pytest.mark.parametrize(("offered", "fact"), FACTS, ids=lambda each: getattr(each, "setting", each))
def test_facts_that_rules_need_are_stated_in_the_source(offered: Variants, fact: str, unloaded: None) -> None:
    loaded = offered.load()
    assert {name: offered.stated(name)[fact] for name in offered} == {
        name: getattr(loaded[name], fact) for name in loaded
    }


def test_fact_that_the_source_does_not_state_is_asked_of_the_module(unloaded: None) -> None:
    assert "learns" not in TOKENIZERS.stated("bpe")  # its class is another file's
    assert TOKENIZERS["bpe"].learns is True


def test_variant_registered_at_run_time_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = SCORES.load()
    monkeypatch.setitem(registry.entries, "mine", registry["dot"])
    assert "mine" in SCORES
    assert SCORES["mine"].least_width == 1


SOURCE = """
THINGS: Registry[Any] = Registry("a.thing")
THINGS.add("call")(Thing(1, wide=2, odd=f(3)))
class Base(nn.Module):
    wide: ClassVar[int] = 1
    plain, odd = "x", f(3)
@THINGS.add("own")
class Own(Base):
    wide = 5
@THINGS.add("computed")
class Computed(Base):
    wide = 5 + one
@THINGS.add("method")
class Method(Base):
    @property
    def wide(self): return 7
@THINGS.add("foreign")
class Foreign(Elsewhere, Base):
    deep = 3
@THINGS.add("made")
def made(x): return x
THINGS.add(Own.plain)(Own())
OTHERS.add("other")(Base)
"""


def test_literals_are_facts_and_what_is_computed_is_none() -> None:
    source: Any = variants._Source.__new__(variants._Source)
    source._registry, source.setting, source.facts = "THINGS", "", {}
    source._read(ast.parse(SOURCE))
    assert source.setting == "a.thing"
    assert source.facts == {
        "call": {"wide": 2},
        "own": {"wide": 5, "plain": "x"},
        "computed": {"plain": "x"},
        "method": {"plain": "x"},
        "foreign": {"deep": 3},
        "made": {},
        "x": {},
    }


def test_every_family_has_a_config_and_a_model() -> None:
    assert set(CONFIGS) == set(FAMILIES)
    assert {name: CONFIGS[name]().type for name in CONFIGS} == {name: name for name in CONFIGS}
    assert all(FAMILIES[name](CONFIGS[name]()).config == CONFIGS[name]() for name in CONFIGS)
