"""A chat's messages as the corridor's.

Several text parts of a message are one text with a blank line between them; pictures come after the text. A `developer`
is a `system` by its newer name.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from aiservice.api import prompt
from aiservice.api.fields import CallId
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.core.types import Image, Message, Role, ToolCall

Nothing = Annotated[Any, msgspec.Meta(extra_json_schema={"type": "null"})]


class ChatText(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class ChatPictureAddress(msgspec.Struct):
    """A data URL, or an address on a host that the operator allows. `detail` is the engine's own business."""

    url: str


class ChatPicture(msgspec.Struct, tag_field="type", tag="image_url"):
    image_url: ChatPictureAddress


class ChatRefusal(msgspec.Struct, tag_field="type", tag="refusal"):
    """What a model said instead of an answer; it counts as text."""

    refusal: str


class ChatAudio(msgspec.Struct, tag_field="type", tag="input_audio"):
    """Refused: no engine here hears."""


class ChatFile(msgspec.Struct, tag_field="type", tag="file"):
    """Refused: no engine here reads files."""


ChatPart = ChatText | ChatPicture | ChatRefusal | ChatAudio | ChatFile
ChatContent = str | list[ChatPart]


class ChatCalledFunction(msgspec.Struct):
    """A function's name and its arguments, as JSON text."""

    name: CallId
    arguments: str


class ChatCall(msgspec.Struct):
    """A call that the model asked for in an earlier answer."""

    id: CallId
    function: ChatCalledFunction | None = None
    type: str = "function"


class ChatSystemTurn(msgspec.Struct, tag_field="role", tag="system"):
    content: ChatContent


class ChatDeveloperTurn(msgspec.Struct, tag_field="role", tag="developer"):
    content: ChatContent


class ChatUserTurn(msgspec.Struct, tag_field="role", tag="user"):
    content: ChatContent


class ChatAssistantTurn(msgspec.Struct, tag_field="role", tag="assistant"):
    """What the model said earlier: a text, a refusal, calls of tools."""

    content: ChatContent | None = None
    refusal: str | None = None
    tool_calls: list[ChatCall] | None = None
    function_call: Nothing = None
    audio: Nothing = None


class ChatToolTurn(msgspec.Struct, tag_field="role", tag="tool"):
    """What a call gave."""

    content: ChatContent
    tool_call_id: CallId


class ChatFunctionTurn(msgspec.Struct, tag_field="role", tag="function"):
    """Refused: what came before tools."""


ChatTurn = ChatSystemTurn | ChatDeveloperTurn | ChatUserTurn | ChatAssistantTurn | ChatToolTurn | ChatFunctionTurn

_ROLES: Mapping[type[ChatTurn], Role] = {
    ChatSystemTurn: "system",
    ChatDeveloperTurn: "system",
    ChatUserTurn: "user",
    ChatAssistantTurn: "assistant",
    ChatToolTurn: "tool",
}
_SIMPLE = (ChatSystemTurn, ChatDeveloperTurn, ChatUserTurn)


def conversation(turns: Sequence[ChatTurn], settings: Settings) -> tuple[Message, ...]:
    """The messages; raises `FieldInvalid`, naming the place."""
    messages: list[Message] = []
    names: dict[str, str] = {}
    for row, turn in enumerate(turns):
        if isinstance(turn, _SIMPLE) and type(turn.content) is str:
            messages.append(Message(_ROLES[type(turn)], turn.content))
        else:
            messages.append(_message(turn, names, param=f"messages[{row}]", settings=settings))
    prompt.refuse_many_images(sum([len(message.images) for message in messages]), "messages")
    return prompt.checked(messages, "messages", settings.server.prompt_characters_max)


def _message(turn: ChatTurn, names: dict[str, str], *, param: str, settings: Settings) -> Message:
    """One message; `names` collects the tools of the calls by the calls' ids."""
    if isinstance(turn, ChatFunctionTurn):
        raise FieldInvalid(
            f"{param}.role: function messages are not taken; use tools, and messages of the role tool.",
            param=f"{param}.role",
        )
    if isinstance(turn, ChatAssistantTurn):
        return _assistant(turn, names, param)
    if isinstance(turn, ChatToolTurn):
        name = names.get(turn.tool_call_id)
        return Message("tool", _text(turn.content, param), tool_call_id=turn.tool_call_id, tool_name=name)
    if isinstance(turn, ChatUserTurn):
        return Message("user", _text(turn.content, param, ChatPicture), _pictures(turn.content, param, settings))
    return Message("system", _text(turn.content, param))


def _assistant(turn: ChatAssistantTurn, names: dict[str, str], param: str) -> Message:
    if turn.function_call is not None:
        raise FieldInvalid(
            f"{param}.function_call is not taken; use tools, and tool_calls.", param=f"{param}.function_call"
        )
    if turn.audio is not None:
        raise FieldInvalid(f"{param}.audio is not taken; send the text.", param=f"{param}.audio")
    text = _text(turn.content or "", param, ChatRefusal) or turn.refusal or ""
    if not turn.tool_calls:
        return Message("assistant", text)
    calls = tuple(_call(place, call, param) for place, call in enumerate(turn.tool_calls))
    names.update({call.id: call.name for call in calls})
    return Message("assistant", text, tool_calls=calls)


def _call(place: int, call: ChatCall, param: str) -> ToolCall:
    if call.type != "function" or call.function is None:
        at = f"{param}.tool_calls[{place}]"
        raise FieldInvalid(f"{at} is no call of a function; others are not taken.", param=at)
    return ToolCall(call.id, call.function.name, call.function.arguments, place)


def _text(content: ChatContent, param: str, also: type[ChatPart] = ChatText) -> str:
    """The text of a message; raises `FieldInvalid` for a part that is neither text nor of the type `also`."""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for place, part in enumerate(content):
        if not isinstance(part, ChatText | also):
            raise _refused_part(part, also, f"{param}.content[{place}]")
        if isinstance(part, ChatText):
            texts.append(part.text)
        elif isinstance(part, ChatRefusal):
            texts.append(part.refusal)
    return prompt.PARTS_BETWEEN.join([text for text in texts if text])


def _refused_part(part: ChatPart, also: type[ChatPart], param: str) -> FieldInvalid:
    taken = " and ".join(dict.fromkeys([_kind(ChatText), _kind(also)]))
    return FieldInvalid(f"{param} is of the type {_kind(type(part))}; {taken} is taken here.", param=param)


def _kind(part: type[ChatPart]) -> str:
    return str(part.__struct_config__.tag)


def _pictures(content: ChatContent, param: str, settings: Settings) -> tuple[Image, ...]:
    if isinstance(content, str):
        return ()
    return tuple(
        prompt.image(part.image_url.url, settings, f"{param}.content[{place}].image_url.url")
        for place, part in enumerate(content)
        if isinstance(part, ChatPicture)
    )
