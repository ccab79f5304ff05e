"""POST /v1/messages/count_tokens: how many tokens a prompt comes to.

The prompt walks the corridor as a request for one token, and the engine's own count of it is the answer: only the
engine knows its tokenizer and the template that makes one text of turns, tools and pictures, and an estimate that is
off by a few tokens is of no use at the edge of a context. So the count equals `usage.input_tokens` of the later
message exactly. It costs what one token costs: one request of the limit and a row of the ledger under this path. Like
any answer it is kept, so that the same prompt counted again costs no engine anything.
"""

from collections.abc import Sequence

import msgspec

from aiservice.api.anthropic.content import conversation
from aiservice.api.anthropic.request import CountTokensRequest, refuse_unsupported, response_format
from aiservice.api.anthropic.tools import chosen, offered
from aiservice.api.door import Operation
from aiservice.api.hot import HotDoor, Reply
from aiservice.api.surfaces import ANTHROPIC
from aiservice.core.types import Chunk, Generation
from aiservice.gateway import Visit

PATH = "/v1/messages/count_tokens"

_encode = msgspec.json.Encoder().encode


class TokenCount(msgspec.Struct):
    """The tokens of a prompt."""

    input_tokens: int


class CountTokensReply(Reply[CountTokensRequest]):
    """The tokens of the prompt; the one token of the answer is passed over."""

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        tokens = choices[-1].tokens
        assert tokens is not None
        return _encode(TokenCount(tokens.prompt))


class CountTokensDoor(HotDoor[CountTokensRequest]):
    """Anthropic's count of a prompt."""

    path = PATH
    surface = ANTHROPIC
    takes_images = True
    decoder = msgspec.json.Decoder(CountTokensRequest)
    reply = CountTokensReply
    operation = Operation(
        tag="anthropic",
        summary="Count tokens",
        description="The tokens that the prompt of a message comes to, as the engine itself counts them.",
        answer=TokenCount,
    )

    def asked(self, request: CountTokensRequest, visit: Visit) -> Generation:
        settings = self.rooms.settings
        refuse_unsupported(request)
        tools = offered(request.tools)
        return Generation(
            model=request.model,
            messages=conversation(request.system, request.messages, settings),
            temperature=settings.engines.temperature,
            max_tokens=1,
            response_format=response_format(request),
            tools=tools,
            tool_choice=chosen(request.tool_choice, tools),
        )
