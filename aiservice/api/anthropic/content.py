"""Anthropic's content blocks as the corridor's messages.

Several text blocks of a turn are one text with a blank line between them; pictures come after the text. What a model
thought earlier is left out: no engine here takes it back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.api.fields import CallId
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.core.types import Image, Message, ToolCall

FAILED = "The tool failed: "
PICTURES_ONLY = "The result is in the pictures that follow."

_encode = msgspec.json.Encoder().encode


class AnthropicBase64Source(msgspec.Struct, tag_field="type", tag="base64"):
    """A picture itself."""

    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    data: str


class AnthropicUrlSource(msgspec.Struct, tag_field="type", tag="url"):
    """A picture's address: a data URL, or one on a host that the operator allows."""

    url: str


class AnthropicText(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class AnthropicImage(msgspec.Struct, tag_field="type", tag="image"):
    source: AnthropicBase64Source | AnthropicUrlSource


class AnthropicToolUse(msgspec.Struct, tag_field="type", tag="tool_use"):
    """A call that the model asked for in an earlier answer."""

    id: CallId
    name: CallId
    input: dict[str, Any]


class AnthropicToolResult(msgspec.Struct, tag_field="type", tag="tool_result"):
    """What a call gave; a failed one is told to the model as such."""

    tool_use_id: CallId
    content: str | list[AnthropicText | AnthropicImage] | None = None
    is_error: bool | None = None


class AnthropicThinking(msgspec.Struct, tag_field="type", tag="thinking"):
    """What a model thought in an earlier answer; passed over."""


class AnthropicRedactedThinking(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    """The same, encrypted; passed over."""


AnthropicBlock = (
    AnthropicText
    | AnthropicImage
    | AnthropicToolUse
    | AnthropicToolResult
    | AnthropicThinking
    | AnthropicRedactedThinking
)


class AnthropicTurn(msgspec.Struct):
    """One turn; a text is short for one text block."""

    role: Literal["user", "assistant", "system"]
    content: str | list[AnthropicBlock]


_ALLOWED: Mapping[str, tuple[type[msgspec.Struct], ...]] = {
    "system": (AnthropicText,),
    "user": (AnthropicText, AnthropicImage, AnthropicToolResult),
    "assistant": (AnthropicText, AnthropicToolUse, AnthropicThinking, AnthropicRedactedThinking),
}


def conversation(
    system: str | Sequence[AnthropicText] | None, turns: Sequence[AnthropicTurn], settings: Settings
) -> tuple[Message, ...]:
    """The messages, the system's text first where there is one; raises `FieldInvalid`.

    Each tool result becomes a message of its own, before what else its turn says.
    """
    messages: list[Message] = []
    if system:
        messages.append(Message("system", system if isinstance(system, str) else _joined(system)))
    names: dict[str, str] = {}
    for row, turn in enumerate(turns):
        content = turn.content
        if isinstance(content, str):
            messages.append(Message(turn.role, content))
        else:
            messages += _messages(turn.role, content, names, param=f"messages[{row}].content", settings=settings)
    prompt.refuse_many_images(sum([len(message.images) for message in messages]), "messages")
    return prompt.checked(messages, "messages", settings.server.prompt_characters_max)


def _messages(
    role: Literal["user", "assistant", "system"],
    blocks: Sequence[AnthropicBlock],
    names: dict[str, str],
    *,
    param: str,
    settings: Settings,
) -> Iterator[Message]:
    """A turn's messages; `names` collects the tools of its calls by the calls' ids."""
    for place, block in enumerate(blocks):
        if not isinstance(block, _ALLOWED[role]):
            kind = block.__struct_config__.tag
            raise FieldInvalid(f"{param}[{place}] is a {kind} block, which no {role} message has.", param=param)
    text = _joined([block for block in blocks if isinstance(block, AnthropicText)])
    if role == "assistant":
        calls = [block for block in blocks if isinstance(block, AnthropicToolUse)]
        names.update({call.id: call.name for call in calls})
        if text or calls or not blocks:
            yield Message(role, text, tool_calls=tuple(_call(index, call) for index, call in enumerate(calls)))
        return
    pictures: list[Image] = []
    for place, block in enumerate(blocks):
        at = f"{param}[{place}]"
        if isinstance(block, AnthropicToolResult):
            shown = _pictures(block.content, at, settings)
            yield _result(block, names, has_pictures=bool(shown))
            pictures += shown
        elif isinstance(block, AnthropicImage):
            pictures.append(_picture(block, at, settings))
    if text or pictures or not any(isinstance(block, AnthropicToolResult) for block in blocks):
        yield Message(role, text, images=tuple(pictures))


def _joined(blocks: Sequence[AnthropicText]) -> str:
    return prompt.PARTS_BETWEEN.join([block.text for block in blocks if block.text])


def _call(index: int, block: AnthropicToolUse) -> ToolCall:
    return ToolCall(block.id, block.name, _encode(block.input).decode(), index)


def _result(block: AnthropicToolResult, names: dict[str, str], *, has_pictures: bool) -> Message:
    content = block.content or ""
    if not isinstance(content, str):
        content = _joined([part for part in content if isinstance(part, AnthropicText)])
    if has_pictures and not content:
        content = PICTURES_ONLY
    if block.is_error:
        content = FAILED + content
    return Message("tool", content, tool_call_id=block.tool_use_id, tool_name=names.get(block.tool_use_id))


def _pictures(
    content: str | Sequence[AnthropicText | AnthropicImage] | None, param: str, settings: Settings
) -> list[Image]:
    if content is None or isinstance(content, str):
        return []
    return [
        _picture(part, f"{param}.content[{place}]", settings)
        for place, part in enumerate(content)
        if isinstance(part, AnthropicImage)
    ]


def _picture(block: AnthropicImage, param: str, settings: Settings) -> Image:
    source = block.source
    if isinstance(source, AnthropicUrlSource):
        return prompt.image(source.url, settings, f"{param}.source.url")
    return prompt.image(f"data:{source.media_type};base64,{source.data}", settings, f"{param}.source.data")
