"""Anthropic's tools and the choice among them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from aiservice.api import prompt
from aiservice.api.fields import ToolName
from aiservice.core.errors import FieldInvalid
from aiservice.core.types import Tool, ToolChoice, ToolMode


class AnthropicTool(msgspec.Struct):
    """A tool of the client's. Those that Anthropic runs or defines itself have another `type` and are refused."""

    name: ToolName
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    type: str | None = None
    strict: bool | None = None


class AnthropicChoiceAuto(msgspec.Struct, tag_field="type", tag="auto"):
    """The model decides."""

    disable_parallel_tool_use: bool | None = None


class AnthropicChoiceAny(msgspec.Struct, tag_field="type", tag="any"):
    """The model must call a tool."""

    disable_parallel_tool_use: bool | None = None


class AnthropicChoiceTool(msgspec.Struct, tag_field="type", tag="tool"):
    """The model must call this tool."""

    name: ToolName
    disable_parallel_tool_use: bool | None = None


class AnthropicChoiceNone(msgspec.Struct, tag_field="type", tag="none"):
    """The model must not call any."""


AnthropicToolChoice = AnthropicChoiceAuto | AnthropicChoiceAny | AnthropicChoiceTool | AnthropicChoiceNone


def offered(tools: Sequence[AnthropicTool] | None) -> tuple[Tool, ...]:
    """The tools; raises `FieldInvalid`."""
    return prompt.tools([_tool(row, tool) for row, tool in enumerate(tools)]) if tools else ()


def chosen(choice: AnthropicToolChoice | None, tools: Sequence[Tool]) -> ToolChoice | None:
    """The choice, None where it is the usual one; raises `FieldInvalid` for one that the tools do not allow."""
    if choice is None or isinstance(choice, AnthropicChoiceNone):
        return prompt.tool_choice("auto" if choice is None else "none", None, tools)
    is_parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    if isinstance(choice, AnthropicChoiceTool):
        return prompt.tool_choice("required", choice.name, tools, is_parallel=is_parallel, param="tool_choice.name")
    mode: ToolMode = "auto" if isinstance(choice, AnthropicChoiceAuto) else "required"
    return prompt.tool_choice(mode, None, tools, is_parallel=is_parallel)


def _tool(row: int, tool: AnthropicTool) -> Tool:
    if tool.type not in (None, "custom"):
        raise FieldInvalid(
            f"tools[{row}].type: tools of the type {tool.type[:64]} are not to be had here; send one of your own, "
            "with name, description and input_schema.",
            param=f"tools[{row}].type",
        )
    if tool.input_schema is None:
        raise FieldInvalid(f"tools[{row}].input_schema is missing.", param=f"tools[{row}].input_schema")
    return Tool(tool.name, tool.description, tool.input_schema, strict=bool(tool.strict))
