"""What a registry offers, known without importing it: the names, and the plain facts, that its source states.

    SCORES = Variants("mingpt.models.attention.scores:SCORES")
    list(SCORES)                            ["dot", "scaled_dot", ...]
    SCORES["linear_concat"].least_width     2

A variant registers where it is implemented, which needs PyTorch; a setting that names it is checked before PyTorch is
imported, which takes seconds.  So the source is parsed, not run: `@SCORES.add("name")` is a name, and a literal that a
registered class has as an attribute, or that is passed by keyword to what is registered, is a fact.  A module that is
loaded is asked itself, and one whose source does not state what is asked for is loaded: the answer is the same.
"""

import ast
import functools
import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from mingpt.core.registry import Registry, unknown

Facts = dict[str, Any]


class Variants:
    """The variants of one registry.

    Args:
        place: `module:NAME`, where the registry is found; of a package, each of its modules may register.
    """

    def __init__(self, place: str) -> None:
        self._module, _, self._name = place.partition(":")

    @property
    def setting(self) -> str:
        """The setting that chooses among them, as `model.score`."""
        loaded = self._loaded()
        return self._source.setting if loaded is None else loaded.setting

    def __getitem__(self, name: str) -> Any:
        """The variant called `name`: an object that has its facts as attributes.

        Raises:
            UsageError: unknown; names the nearest right one and all there are.
        """
        if name not in self:
            raise unknown(self.setting, name, self)
        loaded = self._loaded()
        return _Stated(self, name) if loaded is None else loaded[name]

    def __iter__(self) -> Iterator[str]:
        loaded = self._loaded()
        return iter(self._source.facts if loaded is None else loaded)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def stated(self, name: str) -> Facts:
        """What the source of the variant `name` states."""
        return self._source.facts[name]

    def load(self) -> Registry[Any]:
        """The registry itself."""
        found: Registry[Any] = getattr(importlib.import_module(self._module), self._name)
        return found

    def _loaded(self) -> Registry[Any] | None:
        return getattr(sys.modules.get(self._module), self._name, None)

    @functools.cached_property
    def _source(self) -> "_Source":
        return _Source(self._module, self._name)


def choice(default: str | None, names: Iterable[str], *more: str, others: bool = False) -> Any:
    """Return a dataclass field that takes one of `names`, which may be Variants, or of `more`.

    Args:
        others: it takes other values, too, which the class checks itself.
    """
    return field(default=default, metadata={"names": names, "more": more, "others": others})


def choices(group: type) -> dict[str, list[str]]:
    """Return, for every `choice` of a dataclass, the names that it takes."""
    return {
        each.name: [*each.metadata["more"], *each.metadata["names"]]
        for each in fields(group)
        if "names" in each.metadata
    }


def closed_choices(group: type) -> set[str]:
    """Return the fields of a dataclass that take no other value than one of `choices`."""
    return {each.name for each in fields(group) if each.metadata.get("others") is False}


def check_choices(settings: Any, group: str) -> None:
    """Check every `choice` of a dataclass, null aside.

    Args:
        group: what precedes the fields' names in a message, as "model"; empty: nothing.

    Raises:
        UsageError: names setting, value, the right names and the nearest.
    """
    for name, names in choices(type(settings)).items():
        value = getattr(settings, name)
        if value is not None and value not in names:
            raise unknown(f"{group}.{name}" if group else name, value, names)


class _Stated:
    """A variant whose module is not loaded: what its source states, and from the module what it does not."""

    def __init__(self, variants: Variants, name: str) -> None:
        self._variants, self._name = variants, name

    def __getattr__(self, fact: str) -> Any:
        stated = self._variants.stated(self._name)
        return stated[fact] if fact in stated else getattr(self._variants.load()[self._name], fact)


class _Source:
    """What the files of a module, or of a package, register in `registry`."""

    def __init__(self, module: str, registry: str) -> None:
        self._registry, self.setting = registry, ""
        self.facts: dict[str, Facts] = {}
        path = Path(__file__).parents[2].joinpath(*module.split("."))
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            self._read(ast.parse(file.read_text(encoding="utf-8")))

    def _read(self, tree: ast.Module) -> None:
        self._classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                for decorator in node.decorator_list:
                    self._register(decorator, ast.Name(node.name))
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) and isinstance(node.value, ast.Call):
                self._called(node, node.value)

    def _called(self, node: ast.stmt, call: ast.Call) -> None:
        """`REGISTRY = Registry("setting")`, or `REGISTRY.add("name")(variant)`."""
        if self._registry in dict(_given(node)) and call.args:
            self.setting = ast.literal_eval(call.args[0])
        elif isinstance(call.func, ast.Call) and call.args:
            self._register(call.func, call.args[0])

    def _register(self, call: ast.expr, variant: ast.expr) -> None:
        """Note `variant` where `call` is `REGISTRY.add("name")`."""
        if isinstance(call, ast.Call) and ast.unparse(call.func) == f"{self._registry}.add":
            self.facts[self._literal(call.args[0])] = self._facts(variant)

    def _literal(self, name: ast.expr) -> str:
        """A name as it is written, or as an attribute of a class in this file, `Flex.name`, has it."""
        if isinstance(name, ast.Attribute):
            stated: str = self._attributes(self._classes[ast.unparse(name.value)])[name.attr]
            return stated
        return str(ast.literal_eval(name))

    def _facts(self, variant: ast.expr) -> Facts:
        if isinstance(variant, ast.Call):
            return {
                word.arg: ast.literal_eval(word.value) for word in variant.keywords if word.arg and _plain(word.value)
            }
        found = self._classes.get(ast.unparse(variant))
        return {} if found is None else self._attributes(found)

    def _attributes(self, found: ast.ClassDef) -> Facts:
        """The literals among a class's own attributes, and those of its bases as far as they are in the same file."""
        facts: Facts = {}
        for base in found.bases:
            above = self._classes.get(ast.unparse(base))
            if above is None:
                break  # what it has is unknown here, and it goes before the bases that follow
            facts = {**self._attributes(above), **facts}
        for node in found.body:
            for name, value in _given(node):
                facts.pop(name, None)
                if _plain(value):
                    facts[name] = ast.literal_eval(value)
        return facts


def _given(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement gives a value to, with what stands for it: of a function, its name."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, ast.Name(node.name)
    elif isinstance(node, ast.AnnAssign) and node.value:
        yield ast.unparse(node.target), node.value
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(map(ast.unparse, target.elts), node.value.elts, strict=False)
            else:
                yield ast.unparse(target), node.value


def _plain(value: ast.expr) -> bool:
    """Whether what stands there is a literal."""
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True
