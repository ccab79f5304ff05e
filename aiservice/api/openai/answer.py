"""What the answers of chat and completions have in common: the usage, the head of each chunk, the end of a stream."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import msgspec

from aiservice.api import sse
from aiservice.api.hot import Reply
from aiservice.api.openai.request import OpenAIRequest
from aiservice.core.types import Chunk, Tokens

_Request = TypeVar("_Request", bound=OpenAIRequest)

encode = msgspec.json.Encoder().encode


class OpenAIPromptDetails(msgspec.Struct, frozen=True):
    """Of which kinds the tokens of a prompt are; engines do not tell."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class OpenAICompletionDetails(msgspec.Struct, frozen=True):
    """Of which kinds the tokens of an answer are; engines do not tell."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class OpenAIUsage(msgspec.Struct):
    """Token counts as the engine gave them; those of the answer over all its choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: OpenAIPromptDetails
    completion_tokens_details: OpenAICompletionDetails


class _Head(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    system_fingerprint: None = None


_PROMPT_DETAILS = OpenAIPromptDetails()
_COMPLETION_DETAILS = OpenAICompletionDetails()


def usage_of(tokens: Tokens | None) -> OpenAIUsage:
    assert tokens is not None
    prompt, completion = tokens.prompt, tokens.completion
    return OpenAIUsage(prompt, completion, prompt + completion, _PROMPT_DETAILS, _COMPLETION_DETAILS)


class ChoicesReply(Reply[_Request]):
    """An answer of choices. What the chunks of a stream share is written once, in `opening`.

    `id_begin` is what an answer's id begins with, `chunk_object` what a chunk calls itself; a piece of text stands
    between `text_begin` and `text_end` in its choice.
    """

    id_begin: ClassVar[str]
    chunk_object: ClassVar[str]
    text_begin: ClassVar[bytes]
    text_end: ClassVar[bytes] = b',"logprobs":null,"finish_reason":null}'

    _head: bytes
    _tail: bytes
    _text_heads: Sequence[bytes]
    _text_tail: bytes

    @property
    def id(self) -> str:
        return self.id_begin + self.visit.id.replace("-", "")

    @property
    def created_s(self) -> int:
        return self.visit.created_at_us // 1_000_000

    def opening(self) -> bytes:
        head = encode(_Head(self.id, self.chunk_object, self.created_s, self.answer.model))
        self._head = b"data: " + head[:-1] + b',"choices":['
        # Where usage is shown every chunk has the field.
        self._tail = b'],"usage":null}\n\n' if self.request.shows_usage else b"]}\n\n"
        self._text_heads = [
            self._head + b'{"index":%d,' % index + self.text_begin for index in range(self.request.n or 1)
        ]
        self._text_tail = self.text_end + self._tail
        return b""

    def piece(self, chunk: Chunk) -> bytes:
        if chunk.finish_reason is None and not chunk.tool_calls and not chunk.logprobs:
            return self._text_heads[chunk.index] + encode(chunk.text) + self._text_tail if chunk.text else b""
        return b"".join([self.event(choice) for choice in self.choices(chunk)])

    @abstractmethod
    def choices(self, chunk: Chunk) -> Sequence[msgspec.Struct]:
        """A chunk that is more than text, as the choices of one or several of the stream's."""

    def event(self, choice: msgspec.Struct) -> bytes:
        return self._head + encode(choice) + self._tail

    def closing(self, last: Chunk) -> bytes:
        if not self.request.shows_usage:
            return sse.DONE
        return self._head + b'],"usage":' + encode(usage_of(last.tokens)) + b"}\n\n" + sse.DONE
