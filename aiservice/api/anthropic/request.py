"""What both of Anthropic's doors are asked: a prompt, with tools and the form of its answer."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.api.anthropic.content import AnthropicText, AnthropicTurn
from aiservice.api.anthropic.tools import AnthropicTool, AnthropicToolChoice
from aiservice.api.fields import ModelName
from aiservice.api.surfaces import ThreadUnsupported
from aiservice.core.errors import FieldInvalid


class AnthropicFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    """An answer that is JSON of this schema."""

    schema: dict[str, Any]


class AnthropicOutputConfig(msgspec.Struct):
    """How the answer is to look."""

    format: AnthropicFormat | None = None


class CountTokensRequest(msgspec.Struct, kw_only=True):
    """A prompt. What it would come to with `max_tokens` and the rest is asked for at /v1/messages."""

    model: ModelName
    messages: Annotated[list[AnthropicTurn], msgspec.Meta(min_length=1, max_length=prompt.MESSAGES_MAX)]
    system: str | list[AnthropicText] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: AnthropicToolChoice | None = None
    output_config: AnthropicOutputConfig | None = None
    output_format: AnthropicFormat | None = None
    inference_geo: Literal["global"] | None = None
    container: Any = None
    mcp_servers: list[Any] | None = None
    compaction: Any = None
    thread: Any = None


def refuse_unsupported(request: CountTokensRequest) -> None:
    """Raises `FieldInvalid` for what would change the answer and cannot be had here."""
    if request.container is not None:
        raise _unsupported("container", "no code is run here")
    if request.mcp_servers:
        raise _unsupported("mcp_servers", "no MCP server is called from here; offer its tools as your own")
    if request.compaction is not None:
        raise _unsupported("compaction", "conversations are not summarised here")
    if request.thread is not None:
        raise ThreadUnsupported


def response_format(request: CountTokensRequest) -> Mapping[str, Any] | None:
    """The form of the answer as OpenAI says it; the older field `output_format` counts where the newer is not sent."""
    asked = request.output_config.format if request.output_config is not None else None
    asked = asked or request.output_format
    return None if asked is None else prompt.schema_format(asked.schema)


def _unsupported(param: str, why: str) -> FieldInvalid:
    return FieldInvalid(f"{param} is not supported: {why}.", param=param)
