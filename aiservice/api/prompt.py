"""What every door asks of a prompt: its texts, pictures, tools and the form of its answer."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from aiservice.api.parse import refuse_nul
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.core.types import Image, Message, Tool, ToolChoice, ToolMode
from aiservice.keys import Caller

MESSAGES_MAX = 1_000
TOOLS_MAX = 128
IMAGES_MAX = 100
# Between the text parts of one message, on every door alike, so that they share their kept answers.
PARTS_BETWEEN = "\n\n"
SCHEMA_NAME = "answer"
IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")

_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_DATA_URL = re.compile(r"data:(?P<type>[a-z]+/[a-z0-9.+-]+);base64,(?P<data>[A-Za-z0-9+/=]+)\Z", re.IGNORECASE)
# Enough of a picture to see that its base64 is sound; whether it is a picture the engine will say.
_HEAD_CHARACTERS = 64


def checked(messages: Sequence[Message], param: str, characters_max: int) -> tuple[Message, ...]:
    """The messages again; raises `FieldInvalid`, naming `param`, where they are none, empty or too long.

    The last one must say something, by text, pictures, tool calls or the result of a tool.
    """
    if not 1 <= len(messages) <= MESSAGES_MAX:
        raise FieldInvalid(f"{param} has {len(messages)} messages; 1 to {MESSAGES_MAX} are taken.", param=param)
    characters = 0
    for message in messages:
        refuse_nul(message.content, param)
        characters += len(message.content)
        for call in message.tool_calls:
            refuse_nul(call.arguments, param)
            characters += len(call.arguments)
    last = messages[-1]
    if not last.content and last.is_text:
        raise FieldInvalid(f"{param} is empty; say what you want to know.", param=param)
    if characters > characters_max:
        raise FieldInvalid(f"{param} has {characters} characters; at most {characters_max} are taken.", param=param)
    return tuple(messages)


def image(url: str, settings: Settings, param: str) -> Image:
    """A picture by its data URL, or by an address on one of IMAGE_HOSTS; raises `FieldInvalid` for any other.

    The service itself never fetches it: an address goes to the engine as it is.
    """
    match = _DATA_URL.match(url)
    if match is not None:
        media_type = match["type"].lower()
        if media_type not in IMAGE_TYPES:
            raise FieldInvalid(f"{param} is {media_type}; one of {', '.join(IMAGE_TYPES)} is taken.", param=param)
        if not _is_base64(match["data"]):
            raise FieldInvalid(f"{param} is not valid base64.", param=param)
        return Image(f"data:{media_type};base64,{match['data']}")
    if _is_on_allowed_host(url, settings.server.image_hosts):
        return Image(url)
    if url[:5].lower() == "data:":
        raise FieldInvalid(f"{param} is no picture as base64 (data:image/png;base64,...).", param=param)
    raise FieldInvalid(
        f"{param} must be a data URL (data:image/png;base64,...); images are not fetched from addresses here.",
        param=param,
    )


def tools(offered: Iterable[Tool], param: str = "tools") -> tuple[Tool, ...]:
    """The tools again; raises `FieldInvalid` for a bad or repeated name, or for more than `TOOLS_MAX`."""
    taken: dict[str, Tool] = {}
    for tool in offered:
        if not _TOOL_NAME.fullmatch(tool.name):
            raise FieldInvalid(
                f"{param}: a tool's name has 1 to 128 letters, digits and the signs _ . - only.", param=param
            )
        if tool.name in taken:
            raise FieldInvalid(f"{param}: two tools are named {tool.name}.", param=param)
        taken[tool.name] = tool
    if len(taken) > TOOLS_MAX:
        raise FieldInvalid(f"{param} has {len(taken)} tools; at most {TOOLS_MAX} are taken.", param=param)
    return tuple(taken.values())


def tool_choice(
    mode: ToolMode,
    name: str | None,
    tools: Sequence[Tool],
    *,
    is_parallel: bool | None = None,
    param: str = "tool_choice",
) -> ToolChoice | None:
    """A choice among the tools, None where it is the usual one; raises `FieldInvalid`, for a bad name with `param`."""
    if not tools:
        if mode == "required":
            raise FieldInvalid("tool_choice asks for a tool and there are no tools.", param="tool_choice")
        return None
    if mode == "auto" and is_parallel is None:
        return None
    if name is not None and not any(tool.name == name for tool in tools):
        raise FieldInvalid(f"{param} is the name of no tool in tools.", param=param)
    return ToolChoice(mode, name, None if mode == "none" else is_parallel)


def refuse_many_images(count: int, param: str) -> None:
    """Raises `FieldInvalid` for more than `IMAGES_MAX` pictures in a conversation."""
    if count > IMAGES_MAX:
        raise FieldInvalid(f"{param} has {count} images; at most {IMAGES_MAX} are taken.", param=param)


def checked_texts(texts: Sequence[str], param: str, characters_max: int) -> tuple[str, ...]:
    """Texts to embed, again; raises `FieldInvalid` for one that is empty, too long, or has U+0000 in it."""
    for text in texts:
        if not text:
            raise FieldInvalid(f"{param} has an empty text in it, which has no vector.", param=param)
        refuse_nul(text, param)
        if len(text) > characters_max:
            raise FieldInvalid(
                f"{param} has a text of {len(text)} characters; at most {characters_max} are taken.", param=param
            )
    return tuple(texts)


def response_format(value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """OpenAI's response_format, None where it asks for nothing; raises `FieldInvalid`. The schema is read later."""
    if value is None or value == {"type": "text"}:
        return None
    kind = value.get("type")
    if kind == "json_object" or (kind == "json_schema" and isinstance(value.get("json_schema"), dict)):
        return value
    raise FieldInvalid(
        "response_format.type is one of text, json_object and json_schema; the last needs json_schema.",
        param="response_format",
    )


def schema_format(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A bare schema as a response_format, for vendors whose schemas have no name."""
    return {"type": "json_schema", "json_schema": {"name": SCHEMA_NAME, "schema": schema}}


def max_tokens(asked: int | None, settings: Settings, caller: Caller) -> int:
    """How long an answer may get on a vendor's door, whose clients name their own vendor's numbers.

    A number above the tier's largest means that one: an answer that it cuts says so by its finish reason.
    """
    largest = settings.limits.max_tokens_of(caller.tier)
    return min(settings.engines.max_tokens if asked is None else asked, largest)


def stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The texts that end an answer, of one text or a list of them."""
    return () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)


def _is_base64(data: str) -> bool:
    if len(data) % 4:
        return False
    try:
        b64decode(data[:_HEAD_CHARACTERS], validate=True)
        b64decode(data[-4:], validate=True)
    except binascii.Error:
        return False
    return "=" not in data[:-2]


def _is_on_allowed_host(url: str, hosts: Sequence[str]) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"https", "http"} and parts.username is None and parts.hostname in hosts
