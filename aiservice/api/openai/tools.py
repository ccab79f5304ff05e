"""OpenAI's tools and the choice among them."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.api.fields import ToolName
from aiservice.core.errors import FieldInvalid
from aiservice.core.types import Tool, ToolChoice, ToolMode


class ChatFunction(msgspec.Struct):
    """A function of the client's; `parameters` is a JSON schema, which a `strict` one's arguments satisfy."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(msgspec.Struct):
    """A tool; only functions are taken."""

    function: ChatFunction | None = None
    type: str = "function"


class ChatNamedFunction(msgspec.Struct):
    """A function by its name."""

    name: ToolName


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
        return prompt.tool_choice(choice or "auto", None, tools, is_parallel=is_parallel)
    if choice.type == "allowed_tools" and choice.allowed_tools is not None:
        return prompt.tool_choice(choice.allowed_tools.mode, None, tools, is_parallel=is_parallel)
    if choice.type == "function" and choice.function is not None:
        return prompt.tool_choice("required", choice.function.name, tools, is_parallel=is_parallel)
    raise FieldInvalid(
        "tool_choice names no function; other kinds of tools are not to be had here.", param="tool_choice"
    )


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
