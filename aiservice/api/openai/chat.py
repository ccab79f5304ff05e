"""POST /v1/chat/completions: OpenAI's chat."""

import msgspec

from aiservice.api import prompt
from aiservice.api.door import Operation
from aiservice.api.hot import HotDoor
from aiservice.api.openai.chat_answer import ChatAnswer, ChatChunk, ChatReply
from aiservice.api.openai.chat_request import ChatRequest
from aiservice.api.openai.content import conversation
from aiservice.api.openai.tools import chosen, offered
from aiservice.api.surfaces import OPENAI
from aiservice.core.types import Generation
from aiservice.gateway import Visit

PATH = "/v1/chat/completions"


class ChatDoor(HotDoor[ChatRequest]):
    """OpenAI's chat: its request to a `Generation`, its answer as JSON or as chunks."""

    path = PATH
    surface = OPENAI
    takes_images = True
    decoder = msgspec.json.Decoder(ChatRequest)
    reply = ChatReply
    operation = Operation(
        tag="openai",
        summary="Create a chat completion",
        description="OpenAI's Chat Completions API. With `stream` the answer is a stream of chunks that ends with "
        "`data: [DONE]`.",
        answer=ChatAnswer,
        events=(ChatChunk,),
    )

    def asked(self, request: ChatRequest, visit: Visit) -> Generation:
        settings = self.rooms.settings
        request.refuse_unsupported()
        tools = offered(request.tools, request.tool_choice)
        temperature = request.temperature
        # The required ones by position: all by name would be one more than msgspec takes quickly (0.1 us, not 0.6).
        return Generation(
            request.model or settings.engines.default_model,
            conversation(request.messages, settings),
            settings.engines.temperature if temperature is None else temperature,
            prompt.max_tokens(request.tokens_asked(), settings, visit.caller),
            top_p=request.top_p,
            seed=request.seed,
            stop=prompt.stops(request.stop),
            response_format=prompt.response_format(request.response_format),
            stream=request.stream is True,
            tools=tools,
            tool_choice=chosen(request.tool_choice, tools, is_parallel=request.parallel_tool_calls),
            n=request.n or 1,
            logprobs=request.logprobs_asked(),
            top_k=request.top_k_or_none,
            frequency_penalty=request.frequency_penalty,
            presence_penalty=request.presence_penalty,
        )
