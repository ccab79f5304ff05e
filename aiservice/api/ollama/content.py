"""Messages, pictures, tools and the form of an answer, as Ollama's requests and answers have them."""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.api.answers import arguments_of, read_arguments
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.core.types import FinishReason, Image, Message, Tool, ToolCall

# Enough of a picture to see of what type it is: twelve bytes.
_HEAD_CHARACTERS = 16
_SIGNATURES: Mapping[bytes, str] = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_encode = msgspec.json.Encoder().encode


class OllamaFunctionCall(msgspec.Struct):
    """The function of a tool call."""

    name: str
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class OllamaCall(msgspec.Struct):
    """A tool call."""

    function: OllamaFunctionCall
    id: str = ""


class OllamaMessage(msgspec.Struct):
    """A message of a conversation. Pictures are base64 without a prefix; earlier thoughts are not read."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    images: list[str] | None = None
    tool_calls: list[OllamaCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaFunction(msgspec.Struct):
    """A function that the model may call; `strict`, which Ollama does not know, holds its arguments to the schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OllamaTool(msgspec.Struct):
    """A tool that the model may call."""

    function: OllamaFunction
    type: Literal["function"] = "function"


def messages_of(turns: Sequence[OllamaMessage], settings: Settings) -> list[Message]:
    """The conversation; raises `FieldInvalid` for a picture that is none, or where none belongs."""
    prompt.refuse_many_images(sum([len(turn.images) for turn in turns if turn.images]), "messages")
    return [_message(turn, row, settings) for row, turn in enumerate(turns)]


def images_of(pictures: Iterable[str] | None, param: str, settings: Settings) -> tuple[Image, ...]:
    """Pictures as data URLs, their types told by their first bytes; raises `FieldInvalid`."""
    return tuple([_image(picture, f"{param}[{row}]", settings) for row, picture in enumerate(pictures or ())])


def tools_of(tools: Sequence[OllamaTool] | None) -> tuple[Tool, ...]:
    """The tools; raises `FieldInvalid`."""
    if not tools:
        return ()
    functions = [tool.function for tool in tools]
    return prompt.tools(
        Tool(function.name, function.description, function.parameters, bool(function.strict)) for function in functions
    )


def response_format_of(form: str | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Ollama's `format`, `json` or a schema, in the corridor's words."""
    if form is None or form == "":
        return None
    return {"type": "json_object"} if isinstance(form, str) else prompt.schema_format(form)


def calls_of(calls: Iterable[ToolCall], finish_reason: FinishReason | None) -> list[OllamaCall]:
    """A whole answer's calls, their arguments as objects.

    One whose arguments were cut at the answer's length is left out, for half an object is none; `done_reason` says
    `length` then. Where the model wrote arguments that are no object, the text of them is kept inside one.
    """
    whole: list[OllamaCall] = []
    for call in calls:
        if finish_reason == "length" and read_arguments(call) is None:
            continue
        whole.append(OllamaCall(OllamaFunctionCall(call.name, arguments_of(call)), call.id))
    return whole


def _message(turn: OllamaMessage, row: int, settings: Settings) -> Message:
    content = turn.content or ""
    if turn.role != "tool" and not (turn.images or turn.tool_calls):
        return Message(turn.role, content)
    param = f"messages[{row}]"
    if turn.images and turn.role != "user":
        raise FieldInvalid(f"{param}.images: only a user's message has pictures.", param=f"{param}.images")
    if turn.tool_calls and turn.role != "assistant":
        raise FieldInvalid(f"{param}.tool_calls: only an assistant's message has calls.", param=f"{param}.tool_calls")
    if turn.role == "tool":
        return Message("tool", content, tool_call_id=turn.tool_call_id, tool_name=turn.tool_name)
    if turn.tool_calls:
        calls = [_call(call, index) for index, call in enumerate(turn.tool_calls)]
        return Message("assistant", content, tool_calls=tuple(calls))
    return Message(turn.role, content, images_of(turn.images, f"{param}.images", settings))


def _call(call: OllamaCall, index: int) -> ToolCall:
    return ToolCall(call.id, call.function.name, _encode(call.function.arguments).decode(), index)


def _image(picture: str, param: str, settings: Settings) -> Image:
    if picture.startswith("data:"):
        return prompt.image(picture, settings, param)
    media_type = _media_type(picture[:_HEAD_CHARACTERS])
    if media_type is None:
        raise FieldInvalid(f"{param} is no PNG, JPEG, GIF or WebP picture as base64.", param=param)
    return prompt.image(f"data:{media_type};base64,{picture}", settings, param)


def _media_type(head: str) -> str | None:
    try:
        first = b64decode(head, validate=True)
    except (binascii.Error, ValueError):
        return None
    if first.startswith(b"RIFF") and first[8:] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES.items() if first.startswith(signature)), None)
