"""Anthropic's tools and the choice among them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from aiservice.api import prompt
from aiservice.core.errors import FieldInvalid
from aiservice.core.types import Tool, ToolChoice

ToolName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


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
    if isinstance(choice, AnthropicChoiceNone):
        return ToolChoice("none") if tools else None
    if choice is None:
        return None
    is_parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    if isinstance(choice, AnthropicChoiceAuto):
        return None if is_parallel is None or not tools else ToolChoice("auto", None, is_parallel)
    if not tools:
        raise FieldInvalid("tool_choice asks for a tool and there are no tools.", param="tool_choice")
    if isinstance(choice, AnthropicChoiceAny):
        return ToolChoice("required", None, is_parallel)
    if not any(tool.name == choice.name for tool in tools):
        raise FieldInvalid("tool_choice.name is the name of no tool in tools.", param="tool_choice.name")
    return ToolChoice("required", choice.name, is_parallel)


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
