"""Named variants of one idea: each registers where it is defined, everything else enumerates.

    SCORES = Registry("model.score")

    @SCORES.add("scaled_dot")
    class ScaledDot: ...

The key is the setting that chooses among them, so a wrong name is rejected by that setting's name.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from mingpt.core.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """An insertion-ordered table from name to variant.

    Args:
        setting: the command line's key that picks one of these, as `model.norm`.

    Attributes:
        entries: the variants by name.
    """

    def __init__(self, setting: str) -> None:
        self.setting = setting
        self.entries: dict[str, T] = {}

    def add(self, name: str) -> Callable[[T], T]:
        """Decorator: register what follows under `name`."""
        assert name not in self.entries, f"{self.setting}={name} is registered twice"

        def register(entry: T) -> T:
            self.entries[name] = entry
            return entry

        return register

    def __getitem__(self, name: str) -> T:
        """The variant called `name`.

        Raises:
            UsageError: unknown; names the nearest right one and all there are.
        """
        if name not in self.entries:
            raise unknown(self.setting, name, self)
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __len__(self) -> int:
        return len(self.entries)


def unknown(setting: str, name: object, names: Iterable[str]) -> UsageError:
    """The error that `name` is none of the `names` that a setting takes."""
    there = list(names)
    return UsageError(f"{setting}={name}: must be one of {', '.join(there)}{did_you_mean(str(name), there)}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """` (did you mean 'rmsnorm'?)`, or nothing where no name is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
