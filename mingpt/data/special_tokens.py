"""Special tokens of a vocabulary: which ids begin, end and pad a text, their names, and the template of a chat.

They come with an imported model, lie in the state.json of a checkpoint, pass to runs that start from it and leave with
an export.  No text is encoded differently here because of them; generation stops at an end where it is asked to.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from typing_extensions import TypedDict

from mingpt.core.errors import CheckpointError
from mingpt.core.safe_parsing import Many, Named, Whole, fault


class _Kept(TypedDict, total=False):
    ids: Named[Many[Whole]]
    tokens: Named[str]
    extra: Many[str]
    chat_templates: Named[str]
    flags: Named[bool]
    padding_side: str | None


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens that a model's folder names; nothing, for a vocabulary that was made here.

    Attributes:
        ids: ids under `bos_token_id`, `eos_token_id` and `pad_token_id`, where given; several ids may end a text.
        tokens: the text of `bos_token`, `eos_token`, `unk_token`, ...
        extra: special tokens that have no such name.
        chat_templates: Jinja templates by name; `default` is the usual one.
        flags: whether a tokenizer adds the first and the last token of a text: `add_bos_token`, `add_eos_token`.
        padding_side: `left` or `right`; None: not given.
    """

    ids: Mapping[str, list[int]] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    padding_side: str | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON values that `from_state` takes back."""
        return asdict(self)


def from_state(state: Mapping[str, Any]) -> SpecialTokens:
    """Return the special tokens that a checkpoint's state.json holds; none of one from before they were kept.

    Raises:
        CheckpointError: what it holds has another shape.
    """
    kept = state.get("special", {})
    names = {each.name for each in fields(SpecialTokens)}
    wrong = fault(kept, _Kept)
    if wrong or kept.keys() - names:
        raise CheckpointError(f"state.json: special: {wrong or f'{min(kept.keys() - names)[:40]} is unknown'}")
    return SpecialTokens(**kept)
