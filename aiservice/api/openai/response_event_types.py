"""The types of the events of a streamed response."""

import msgspec

from aiservice.api.openai.response_object import (
    ResponseFunctionCall,
    ResponseLogprob,
    ResponseObject,
    ResponseOutputMessage,
    ResponseOutputText,
)
from aiservice.api.surfaces import ErrorFacts


class ResponseCreatedEvent(msgspec.Struct, tag_field="type", tag="response.created"):
    """The first event."""

    response: ResponseObject
    sequence_number: int


class ResponseQueuedEvent(msgspec.Struct, tag_field="type", tag="response.queued"):
    """The response is made in the background."""

    response: ResponseObject
    sequence_number: int


class ResponseInProgressEvent(msgspec.Struct, tag_field="type", tag="response.in_progress"):
    """The model is being asked."""

    response: ResponseObject
    sequence_number: int


class ResponseItemAddedEvent(msgspec.Struct, tag_field="type", tag="response.output_item.added"):
    """A message or a function call begins."""

    output_index: int
    item: ResponseOutputMessage | ResponseFunctionCall
    sequence_number: int


class ResponsePartAddedEvent(msgspec.Struct, tag_field="type", tag="response.content_part.added"):
    """The text of a message begins."""

    item_id: str
    output_index: int
    content_index: int
    part: ResponseOutputText
    sequence_number: int


class ResponseTextDeltaEvent(msgspec.Struct, tag_field="type", tag="response.output_text.delta"):
    """A piece of a text."""

    item_id: str
    output_index: int
    content_index: int
    logprobs: list[ResponseLogprob]
    delta: str
    sequence_number: int


class ResponseTextDoneEvent(msgspec.Struct, tag_field="type", tag="response.output_text.done"):
    """A text is whole."""

    item_id: str
    output_index: int
    content_index: int
    logprobs: list[ResponseLogprob]
    text: str
    sequence_number: int


class ResponsePartDoneEvent(msgspec.Struct, tag_field="type", tag="response.content_part.done"):
    """The text of a message is whole."""

    item_id: str
    output_index: int
    content_index: int
    part: ResponseOutputText
    sequence_number: int


class ResponseArgumentsDeltaEvent(msgspec.Struct, tag_field="type", tag="response.function_call_arguments.delta"):
    """A piece of a call's arguments."""

    item_id: str
    output_index: int
    delta: str
    sequence_number: int


class ResponseArgumentsDoneEvent(msgspec.Struct, tag_field="type", tag="response.function_call_arguments.done"):
    """A call's arguments are whole."""

    item_id: str
    output_index: int
    name: str
    arguments: str
    sequence_number: int


class ResponseItemDoneEvent(msgspec.Struct, tag_field="type", tag="response.output_item.done"):
    """A message or a function call is whole."""

    output_index: int
    item: ResponseOutputMessage | ResponseFunctionCall
    sequence_number: int


class ResponseCompletedEvent(msgspec.Struct, tag_field="type", tag="response.completed"):
    """The last event of an answer that came to its end."""

    response: ResponseObject
    sequence_number: int


class ResponseIncompleteEvent(msgspec.Struct, tag_field="type", tag="response.incomplete"):
    """The last event of an answer that was cut at its length or by a filter."""

    response: ResponseObject
    sequence_number: int


class ResponseErrorEvent(msgspec.Struct, tag_field="type", tag="error"):
    """What went wrong in the middle; the official clients raise for `error`."""

    code: str | None
    message: str
    param: str | None
    error: ErrorFacts
    sequence_number: int


class ResponseFailedEvent(msgspec.Struct, tag_field="type", tag="response.failed"):
    """The last event of a response that failed."""

    response: ResponseObject
    sequence_number: int


ResponseEvent = (
    ResponseCreatedEvent
    | ResponseQueuedEvent
    | ResponseInProgressEvent
    | ResponseItemAddedEvent
    | ResponsePartAddedEvent
    | ResponseTextDeltaEvent
    | ResponseTextDoneEvent
    | ResponsePartDoneEvent
    | ResponseArgumentsDeltaEvent
    | ResponseArgumentsDoneEvent
    | ResponseItemDoneEvent
    | ResponseCompletedEvent
    | ResponseIncompleteEvent
    | ResponseErrorEvent
    | ResponseFailedEvent
)
EVENTS: tuple[type[ResponseEvent], ...] = (
    ResponseCreatedEvent,
    ResponseQueuedEvent,
    ResponseInProgressEvent,
    ResponseItemAddedEvent,
    ResponsePartAddedEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ResponsePartDoneEvent,
    ResponseArgumentsDeltaEvent,
    ResponseArgumentsDoneEvent,
    ResponseItemDoneEvent,
    ResponseCompletedEvent,
    ResponseIncompleteEvent,
    ResponseErrorEvent,
    ResponseFailedEvent,
)
