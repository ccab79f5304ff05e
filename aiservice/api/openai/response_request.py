"""What a request for a response asks: in the corridor's words, and as the response says it again."""

from typing import Annotated, Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.api.fields import Count, ModelName, Temperature, Unit
from aiservice.api.openai.request import Refusal, Refusals
from aiservice.api.openai.response_items import ResponseItem, messages_of
from aiservice.api.openai.response_object import (
    ResponseObject,
    ResponseStatus,
    ResponseTextConfig,
    ResponseTool,
    ResponseToolChoice,
)
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.core.types import Generation, Message, Tool, ToolChoice
from aiservice.gateway import Visit
from aiservice.keys import Caller

LOGPROBS = "message.output_text.logprobs"
ITEMS_MAX = 2_000
_refusals = Refusals(
    {
        "conversation": Refusal("send the whole conversation as input, or go on from a stored response"),
        "prompt": Refusal("no prompts are kept; send instructions and input"),
        "context_management": Refusal("nothing is left out of a conversation"),
        "truncation": Refusal("nothing is left out of a conversation", ("disabled",)),
    }
)
_Metadata = dict[
    Annotated[str, msgspec.Meta(max_length=64)],
    Annotated[str, msgspec.Meta(max_length=512)],
]


class ResponsesText(msgspec.Struct):
    """The form of the answer's text: format is `text`, `json_object`, or `json_schema` with its name and schema."""

    format: dict[str, Any] | None = None


class ResponsesRequest(msgspec.Struct):
    """What to ask of which model. The response is stored only with `store: true`."""

    input: str | Annotated[list[ResponseItem], msgspec.Meta(max_length=ITEMS_MAX)] | None = None
    model: ModelName | None = None
    instructions: str | None = None
    previous_response_id: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: Unit | None = None
    max_output_tokens: Count | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: ResponsesText | None = None
    include: Annotated[list[str], msgspec.Meta(max_length=32)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Annotated[_Metadata, msgspec.Meta(max_length=16)] | None = None
    user: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None


def refuse_unsupported(request: ResponsesRequest) -> None:
    """Raises `FieldInvalid` for what would change the answer and is not done here."""
    _refusals.check(request)
    if request.background and not request.store:
        raise FieldInvalid("background needs store: true; its answer is read by the response's id.", param="background")


def generation_of(request: ResponsesRequest, settings: Settings, caller: Caller) -> Generation:
    """The request in the corridor's words; its input are the items of the whole conversation."""
    assert isinstance(request.input, list)
    messages = messages_of(request.input)
    if not messages:
        raise FieldInvalid("input is missing; say what you want to know.", param="input")
    if request.instructions:
        messages.insert(0, Message("system", request.instructions))
    defaults = settings.engines
    tools = _tools(request)
    return Generation(
        model=request.model or defaults.default_model,
        messages=prompt.checked(messages, "input", settings.server.prompt_characters_max),
        temperature=defaults.temperature if request.temperature is None else request.temperature,
        max_tokens=prompt.max_tokens(request.max_output_tokens, settings, caller),
        top_p=request.top_p,
        response_format=_response_format(request),
        stream=bool(request.stream),
        tools=tools,
        tool_choice=_tool_choice(request, tools),
        logprobs=_logprobs(request),
    )


def head_of(
    request: ResponsesRequest, settings: Settings, visit: Visit, *, model: str, status: ResponseStatus
) -> ResponseObject:
    """The response before its answer."""
    defaults = settings.engines
    text_format = request.text.format if request.text is not None else None
    return ResponseObject(
        id=f"resp_{visit.id.replace('-', '')}",
        created_at=visit.created_at_us // 1_000_000,
        status=status,
        background=bool(request.background),
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        model=model,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        previous_response_id=request.previous_response_id,
        store=bool(request.store),
        temperature=defaults.temperature if request.temperature is None else request.temperature,
        text=ResponseTextConfig(text_format or {"type": "text"}),
        tool_choice=request.tool_choice or "auto",
        tools=request.tools or [],
        top_logprobs=request.top_logprobs or 0,
        top_p=1.0 if request.top_p is None else request.top_p,
        user=request.user,
        metadata=request.metadata or {},
    )


def _tools(request: ResponsesRequest) -> tuple[Tool, ...]:
    tools = []
    for row, tool in enumerate(request.tools or ()):
        if tool.type != "function":
            raise FieldInvalid(
                f"tools[{row}].type: only function is supported; this service has no tools of its own.",
                param=f"tools[{row}].type",
            )
        if tool.name is None:
            raise FieldInvalid(f"tools[{row}].name is missing.", param=f"tools[{row}].name")
        tools.append(Tool(tool.name, tool.description, tool.parameters, bool(tool.strict)))
    return prompt.tools(tools)


def _tool_choice(request: ResponsesRequest, tools: tuple[Tool, ...]) -> ToolChoice | None:
    choice, is_parallel = request.tool_choice, request.parallel_tool_calls
    if not isinstance(choice, ResponseToolChoice):
        return prompt.tool_choice(choice or "auto", None, tools, is_parallel=is_parallel)
    if choice.type != "function" or choice.name is None:
        raise FieldInvalid("tool_choice is none, auto, required, or a function by its name.", param="tool_choice")
    return prompt.tool_choice("required", choice.name, tools, is_parallel=is_parallel)


def _response_format(request: ResponsesRequest) -> Any:
    """OpenAI's flat form as the nested one that its chat has."""
    flat = None if request.text is None else request.text.format
    kind = "text" if flat is None else flat.get("type")
    if flat is None or kind == "text":
        return None
    if kind == "json_object":
        return prompt.response_format({"type": kind})
    if kind == "json_schema" and isinstance(flat.get("name"), str) and isinstance(flat.get("schema"), dict):
        return prompt.response_format({"type": kind, kind: {name: flat[name] for name in flat if name != "type"}})
    raise FieldInvalid(
        "text.format.type is one of text, json_object and json_schema; the last needs name and schema.",
        param="text.format",
    )


def _logprobs(request: ResponsesRequest) -> int | None:
    is_asked = LOGPROBS in (request.include or ()) or bool(request.top_logprobs)
    return request.top_logprobs or 0 if is_asked else None
