"""Items of the Responses API, as they are sent, kept and listed, and the messages that they are."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.core.types import Image, Message, Role, ToolCall

ItemRole = Literal["user", "assistant", "system", "developer"]
_TEXT_TYPES = frozenset({"input_text", "output_text", "text"})
_PREFIXES: Mapping[str, str] = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}
_ID_LENGTH_MAX = 256


class ResponsePart(msgspec.Struct, omit_defaults=True):
    """A part of a message: `input_text`, `input_image` with a data URL, or of an earlier answer `output_text`."""

    type: str
    text: str | None = None
    image_url: str | None = None
    detail: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None


class ResponseItem(msgspec.Struct, omit_defaults=True):
    """A piece of a conversation: a `message` (also without a type), a `function_call` or a `function_call_output`."""

    type: str | None = None
    id: str | None = None
    role: ItemRole | None = None
    content: str | list[ResponsePart] | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ResponsePart] | None = None


def conversation(
    said: str | Sequence[ResponseItem] | None, before: Sequence[ResponseItem], *, mark: str, settings: Settings
) -> list[ResponseItem]:
    """All items in the form in which they are kept and listed: those of before, then those that are sent now.

    Each has an id of its own, made of `mark` where it came with none. Raises `FieldInvalid`.
    """
    if isinstance(said, str):
        said = [ResponseItem(role="user", content=said)]
    items = list(before)
    taken = {item.id for item in items}
    for row, item in enumerate(said or ()):
        if item.type == "reasoning":
            continue
        kept = _kept(item, f"input[{row}]", settings)
        if not kept.id or len(kept.id) > _ID_LENGTH_MAX or kept.id in taken:
            kept.id = f"{_PREFIXES[str(kept.type)]}_{mark}_in{len(items)}"
        taken.add(kept.id)
        items.append(kept)
    pictures = sum(part.type == "input_image" for item in items for part in _parts(item.content))
    prompt.refuse_many_images(pictures, "input")
    return items


def messages_of(items: Sequence[ResponseItem]) -> list[Message]:
    """The messages that the kept items are; the calls of one turn belong to what was said in it."""
    messages: list[Message] = []
    names: dict[str, str] = {}
    for item in items:
        if item.type == "function_call":
            is_going_on = bool(messages) and messages[-1].role == "assistant"
            calling = messages.pop() if is_going_on else Message("assistant", "")
            call = ToolCall(item.call_id or "", item.name or "", item.arguments or "", len(calling.tool_calls))
            names[call.id] = call.name
            messages.append(msgspec.structs.replace(calling, tool_calls=(*calling.tool_calls, call)))
        elif item.type == "function_call_output":
            call_id = item.call_id or ""
            messages.append(Message("tool", _joined(item.output), tool_call_id=call_id, tool_name=names.get(call_id)))
        else:
            messages.append(_message(item))
    return messages


def _message(item: ResponseItem) -> Message:
    role: Role = "assistant" if item.role == "assistant" else "user" if item.role == "user" else "system"
    images = tuple(Image(part.image_url or "") for part in _parts(item.content) if part.type == "input_image")
    return Message(role, _joined(item.content), images)


def _kept(item: ResponseItem, param: str, settings: Settings) -> ResponseItem:
    if item.type in {"message", None}:
        return _kept_message(item, param, settings)
    if item.type == "function_call":
        return ResponseItem(
            item.type,
            item.id,
            status="completed",
            call_id=_name(item.call_id, f"{param}.call_id"),
            name=_name(item.name, f"{param}.name"),
            arguments=_needed(item.arguments, f"{param}.arguments"),
        )
    if item.type == "function_call_output":
        return ResponseItem(
            item.type,
            item.id,
            status="completed",
            call_id=_name(item.call_id, f"{param}.call_id"),
            output=_kept_output(item.output, f"{param}.output"),
        )
    if item.type == "item_reference":
        raise FieldInvalid(
            f"{param}: item references are not taken; send the item itself, or go on from a stored response with "
            "previous_response_id.",
            param=param,
        )
    raise FieldInvalid(
        f"{param}.type: items of the type {_shown(str(item.type))} are not taken; send message, function_call and "
        "function_call_output.",
        param=f"{param}.type",
    )


def _kept_message(item: ResponseItem, param: str, settings: Settings) -> ResponseItem:
    if item.role is None:
        raise FieldInvalid(f"{param}.role is missing.", param=f"{param}.role")
    if item.content is None:
        raise FieldInvalid(f"{param}.content is missing; it is a text or a list of parts.", param=f"{param}.content")
    kind = "output_text" if item.role == "assistant" else "input_text"
    parts = [ResponsePart(kind, item.content)] if isinstance(item.content, str) else item.content
    content = [
        _kept_image(part, item.role, f"{param}.content[{row}]", settings=settings)
        if part.type == "input_image"
        else ResponsePart(kind, _part_text(part, f"{param}.content[{row}]"))
        for row, part in enumerate(parts)
    ]
    if kind == "output_text":
        for part in content:
            part.annotations = []
    return ResponseItem("message", item.id, item.role, content, "completed")


def _kept_output(output: str | list[ResponsePart] | None, param: str) -> str | list[ResponsePart]:
    if output is None:
        raise FieldInvalid(f"{param} is missing; it is a text or a list of parts.", param=param)
    if isinstance(output, str):
        return output
    return [ResponsePart("input_text", _part_text(part, f"{param}[{row}]")) for row, part in enumerate(output)]


def _kept_image(part: ResponsePart, role: ItemRole, param: str, *, settings: Settings) -> ResponsePart:
    if role != "user":
        raise FieldInvalid(f"{param}: images belong into messages of the user.", param=param)
    if not isinstance(part.image_url, str):
        raise FieldInvalid(f"{param} has no image_url; files are not kept here, send a data URL.", param=param)
    image = prompt.image(part.image_url, settings, f"{param}.image_url")
    return ResponsePart("input_image", image_url=image.url, detail=part.detail or "auto")


def _part_text(part: ResponsePart, param: str) -> str:
    if part.type == "refusal" and isinstance(part.refusal, str):
        return part.refusal
    if part.type in _TEXT_TYPES and isinstance(part.text, str):
        return part.text
    if part.type in _TEXT_TYPES:
        raise FieldInvalid(f"{param}.text is missing.", param=f"{param}.text")
    at = f"{param}.type"
    raise FieldInvalid(f"{at}: parts of the type {_shown(part.type)} are not taken here.", param=at)


def _needed(value: str | None, param: str) -> str:
    if not isinstance(value, str):
        raise FieldInvalid(f"{param} is missing.", param=param)
    return value


def _name(value: str | None, param: str) -> str:
    name = _needed(value, param)
    if not 1 <= len(name) <= _ID_LENGTH_MAX:
        raise FieldInvalid(f"{param} has {len(name)} characters; 1 to {_ID_LENGTH_MAX} are taken.", param=param)
    return name


def _parts(content: str | list[ResponsePart] | None) -> Sequence[ResponsePart]:
    return content if isinstance(content, list) else ()


def _joined(content: str | list[ResponsePart] | None) -> str:
    if isinstance(content, str):
        return content
    return prompt.PARTS_BETWEEN.join([part.text for part in _parts(content) if part.text])


def _shown(kind: str) -> str:
    return kind[:64] if kind.isprintable() and kind else "?"
