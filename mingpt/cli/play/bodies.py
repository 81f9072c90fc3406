"""Bodies of requests: JSON objects, their types in strict mode, and their sizes, since a page can send anything."""

from typing import Annotated, Any, NotRequired

from annotated_types import Len
from pydantic import ConfigDict, with_config
from starlette.requests import Request
from typing_extensions import TypedDict

from mingpt.core.errors import MingptError
from mingpt.core.safe_parsing import Count, Finite, Plain, fault, parse_json

MOST_BYTES = 1 << 20
MOST_CHARACTERS = 20_000  # of a text or a prompt
MOST_TOKENS = 5_000  # of a generated text
MOST_NAME = 4_096

Name = Annotated[str, Len(1, MOST_NAME)]
Text = Annotated[str, Len(0, MOST_CHARACTERS)]
Ids = Annotated[list[Count], Len(1, MOST_CHARACTERS)]
only = with_config(ConfigDict(extra="forbid"))


class RequestError(MingptError):
    """A request that is not as it should be."""


@only
class Settings(TypedDict, total=False):
    """How text is generated."""

    temperature: Finite
    top_k: Count
    top_p: Finite
    min_p: Finite
    seed: Count
    max_new_tokens: Count


@only
class Write(TypedDict):
    """Body of /api/write and /api/next: a prompt, or the ids of a prefix."""

    name: Name
    prompt: NotRequired[Text]
    prefix_ids: NotRequired[Ids]
    ids: NotRequired[Ids]
    settings: NotRequired[Settings]


@only
class Fill(TypedDict):
    """Body of /api/fill."""

    name: Name
    text: Text
    gap: NotRequired[Annotated[str, Len(1, 1)]]


@only
class Look(TypedDict):
    """Body of /api/look and /api/dependency."""

    name: Name
    text: Text


@only
class LookLayer(TypedDict):
    """Body of /api/hidden."""

    name: Name
    text: Text
    layer: Count


@only
class LookHead(TypedDict):
    """Body of /api/attention."""

    name: Name
    text: Text
    layer: Count
    head: Count


@only
class Train(TypedDict):
    """Body of /api/train."""

    settings: Annotated[dict[str, Plain | Annotated[list[Plain], Len(0, 100)]], Len(0, 500)]


@only
class Named(TypedDict):
    """Body of /api/stop and /api/resume."""

    name: Name


@only
class Several(TypedDict):
    """Body of /api/compare."""

    names: Annotated[list[Name], Len(1, 500)]


async def read(request: Request, kind: Any) -> dict[str, Any]:
    """Return the body of a request, of type `kind`.

    Raises:
        RequestError: it is too large, no JSON, or of another type.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise RequestError(f"a body of more than {MOST_BYTES:,} bytes is not read")
    try:
        found = parse_json(bytes(content))
    except ValueError as reason:
        raise RequestError(f"the body: {reason}") from None
    if wrong := fault(found, kind):
        raise RequestError(f"the body: {wrong}")
    return found
