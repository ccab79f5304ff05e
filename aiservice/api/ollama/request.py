"""What a chat and a generate request have in common, and how they become a `Generation`."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.api.fields import ModelName
from aiservice.api.ollama.content import response_format_of
from aiservice.api.ollama.options import OllamaOptions
from aiservice.api.rooms import Rooms
from aiservice.core.errors import FieldInvalid
from aiservice.core.types import Generation, Message, Tool
from aiservice.keys import Caller

_LATEST = ":latest"
_NOTHING = re.compile(r"0+(\.0+)?(ns|us|µs|ms|s|m|h)?")


class OllamaRequest(msgspec.Struct, kw_only=True):
    """The model, how it is to answer, and whether in lines. `keep_alive` is the engine's own business."""

    model: ModelName
    stream: bool | None = None
    format: Literal["json", ""] | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    keep_alive: float | str | None = None

    @property
    def is_unload(self) -> bool:
        """Whether `keep_alive` asks to unload the model at once."""
        kept = self.keep_alive
        return kept == 0 or (isinstance(kept, str) and _NOTHING.fullmatch(kept) is not None)


def plain_name(name: str) -> str:
    """A model's name without `:latest`, which means the same as no tag."""
    return name.removesuffix(_LATEST) or name


def generation_of(
    request: OllamaRequest,
    messages: Sequence[Message],
    rooms: Rooms,
    *,
    caller: Caller,
    param: str,
    tools: tuple[Tool, ...] = (),
) -> Generation:
    """What is asked of the model; `param` names the field that `messages` came from. Raises `FieldInvalid`."""
    settings, options = rooms.settings, request.options or OllamaOptions()
    options.refuse_unsupported()
    if request.think:
        raise FieldInvalid(f'"{request.model[:80]}" does not support thinking; leave think out.', param="think")
    return Generation(
        model=plain_name(request.model),
        messages=prompt.checked(messages, param, settings.server.prompt_characters_max),
        temperature=settings.engines.temperature if options.temperature is None else options.temperature,
        max_tokens=options.max_tokens(settings, caller),
        top_p=options.top_p,
        seed=options.seed_or_none(),
        stop=prompt.stops(options.stop),
        response_format=response_format_of(request.format),
        stream=request.stream is not False,
        tools=tools,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        top_k=options.top_k,
        frequency_penalty=options.frequency_penalty,
        presence_penalty=options.presence_penalty,
    )
