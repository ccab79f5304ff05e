"""OpenAI's tools and the choice among them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.core.errors import FieldInvalid
from aiservice.core.types import Tool, ToolChoice, ToolMode

FunctionName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class ChatFunction(msgspec.Struct):
    """A function of the client's; `parameters` is a JSON schema, which a `strict` one's arguments satisfy."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(msgspec.Struct):
    """A tool; only functions are taken."""

    function: ChatFunction | None = None
    type: str = "function"


class ChatNamedFunction(msgspec.Struct):
    """A function by its name."""

    name: FunctionName


class ChatNamedTool(msgspec.Struct):
    """A tool by its name."""

    function: ChatNamedFunction | None = None
    type: str = "function"


class ChatAllowedTools(msgspec.Struct):
    """Those of the tools that the model may call this time, or of which it must call one."""

    mode: Literal["auto", "required"]
    tools: list[ChatNamedTool]


class ChatToolChoice(msgspec.Struct):
    """One function that the model must call, or those that it may."""

    type: Literal["function", "allowed_tools", "custom"]
    function: ChatNamedFunction | None = None
    allowed_tools: ChatAllowedTools | None = None


ChatChoice = ToolMode | ChatToolChoice


def offered(tools: Sequence[ChatTool] | None, choice: ChatChoice | None) -> tuple[Tool, ...]:
    """The tools, of them only those that `choice` allows; raises `FieldInvalid`."""
    if not tools:
        return ()
    taken = prompt.tools([_tool(row, tool) for row, tool in enumerate(tools)])
    if isinstance(choice, ChatToolChoice) and choice.type == "allowed_tools":
        return _allowed(choice.allowed_tools, taken)
    return taken


def chosen(choice: ChatChoice | None, tools: Sequence[Tool], *, is_parallel: bool | None) -> ToolChoice | None:
    """The choice among tools that `offered` gave; raises `FieldInvalid` for one that they do not allow."""
    if choice is None or isinstance(choice, str):
        return choice_of(choice or "auto", None, tools, is_parallel=is_parallel)
    if choice.type == "allowed_tools" and choice.allowed_tools is not None:
        return choice_of(choice.allowed_tools.mode, None, tools, is_parallel=is_parallel)
    if choice.type == "function" and choice.function is not None:
        return choice_of("required", choice.function.name, tools, is_parallel=is_parallel)
    raise FieldInvalid(
        "tool_choice names no function; other kinds of tools are not to be had here.", param="tool_choice"
    )


def choice_of(
    mode: ToolMode, name: str | None, tools: Sequence[Tool], *, is_parallel: bool | None
) -> ToolChoice | None:
    """A choice in the corridor's words, None where it is the usual one; raises `FieldInvalid`."""
    if not tools:
        if mode == "required":
            raise FieldInvalid("tool_choice asks for a tool and there are no tools.", param="tool_choice")
        return None
    if mode == "auto" and is_parallel is None:
        return None
    if name is not None and not any(tool.name == name for tool in tools):
        raise FieldInvalid("tool_choice is the name of no tool in tools.", param="tool_choice")
    return ToolChoice(mode, name, None if mode == "none" else is_parallel)


def _tool(row: int, tool: ChatTool) -> Tool:
    function = tool.function
    if tool.type != "function" or function is None:
        param = f"tools[{row}]"
        raise FieldInvalid(
            f"{param} is no function; send type: function, with function.name and function.parameters.", param=param
        )
    return Tool(function.name, function.description, function.parameters, strict=bool(function.strict))


def _allowed(allowed: ChatAllowedTools | None, tools: Sequence[Tool]) -> tuple[Tool, ...]:
    named = {} if allowed is None else {tool.function.name: None for tool in allowed.tools if tool.function is not None}
    kept = tuple(tool for tool in tools if tool.name in named)
    if not named or len(kept) != len(named):
        raise FieldInvalid("tool_choice.allowed_tools must name functions of tools.", param="tool_choice")
    return kept
