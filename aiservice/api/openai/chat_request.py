"""What a chat may be asked, and what of it cannot be had."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from aiservice.api import prompt
from aiservice.api.fields import Count
from aiservice.api.openai.content import ChatTurn
from aiservice.api.openai.request import (
    SHARED,
    OpenAIRequest,
    Refusal,
    Refusals,
    Unset,
    UnsetOrFalse,
    UnsetOrOne,
)
from aiservice.api.openai.tools import ChatChoice, ChatTool
from aiservice.core.errors import FieldInvalid, InvalidRequest

TOP_LOGPROBS_MAX = 20
_USE_TOOLS = "use tools and tool_choice"
_REFUSALS: Mapping[str, Refusal] = {
    "functions": Refusal(_USE_TOOLS),
    "function_call": Refusal(_USE_TOOLS, ("none", "auto")),
    "modalities": Refusal("answers are text", (["text"],)),
    "audio": Refusal("answers are text"),
    "web_search_options": Refusal("nothing is searched; offer a tool of your own"),
    "best_of": Refusal("send n and choose", (1,)),
    "echo": Refusal("the prompt is not repeated", (False,)),
    "continue_final_message": Refusal("the model begins a message of its own", (False,)),
}
_refusals = Refusals({**_REFUSALS, **SHARED})


class ChatRequest(OpenAIRequest, kw_only=True):
    """A conversation with its tools. `max_completion_tokens` is the newer name of `max_tokens`."""

    messages: Annotated[list[ChatTurn], msgspec.Meta(min_length=1, max_length=prompt.MESSAGES_MAX)]
    max_completion_tokens: Count | None = None
    tools: list[ChatTool] | None = None
    tool_choice: ChatChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=TOP_LOGPROBS_MAX)] | None = None
    functions: Unset = None
    function_call: Annotated[Any, msgspec.Meta(extra_json_schema={"enum": [None, "none", "auto"]})] = None
    modalities: Annotated[Any, msgspec.Meta(extra_json_schema={"enum": [None, ["text"]]})] = None
    audio: Unset = None
    web_search_options: Unset = None
    best_of: UnsetOrOne = None
    echo: UnsetOrFalse = None
    continue_final_message: UnsetOrFalse = None

    def refuse_unsupported(self) -> None:
        """Raises `FieldInvalid` for what would change the answer and cannot be had."""
        _refusals.check(self)

    def tokens_asked(self) -> int | None:
        """The longest answer asked for; raises `InvalidRequest` where its two names do not agree."""
        older, newer = self.max_tokens, self.max_completion_tokens
        if older is not None and newer is not None and older != newer:
            raise InvalidRequest(
                "max_tokens and max_completion_tokens differ; send one of them.", param="max_completion_tokens"
            )
        return older if newer is None else newer

    def logprobs_asked(self) -> int | None:
        """How many alternatives to tell for each token, None for no logprobs; raises `FieldInvalid`."""
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise FieldInvalid("top_logprobs needs logprobs: true.", param="top_logprobs")
        return None
