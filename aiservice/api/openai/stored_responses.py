"""/v1/responses/{response_id}: stored responses are read, followed, cancelled and deleted."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from aiservice.api import sse
from aiservice.api.auth import Auth, require
from aiservice.api.guard import caller_of, guarded
from aiservice.api.openai.response_event_types import EVENTS
from aiservice.api.openai.response_events import NEVER_SENT
from aiservice.api.openai.response_items import ResponseItem
from aiservice.api.openai.response_object import ResponseObject
from aiservice.api.openai.response_store import conversation_of, followed, name_of, shown
from aiservice.api.openai.responses import PATH
from aiservice.api.rooms import Rooms
from aiservice.core.errors import FieldInvalid
from aiservice.gateway.responses import Name

ONE_PATH = f"{PATH}/{{response_id}}"
CANCEL_PATH = f"{ONE_PATH}/cancel"
ITEMS_PATH = f"{ONE_PATH}/input_items"

_REF = "#/components/schemas/{name}"
_ONE: Mapping[str, Any] = {"schema": {"$ref": _REF.format(name=ResponseObject.__name__)}}
_STREAM: Mapping[str, Any] = {"schema": {"anyOf": [{"$ref": _REF.format(name=event.__name__)} for event in EVENTS]}}
_encode = msgspec.json.Encoder().encode

ResponseId = Annotated[str, Path(min_length=1, max_length=256)]


class DeletedResponse(BaseModel):
    """The response is erased."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ResponseItemPage(BaseModel):
    """Items of a conversation; where there are more, `last_id` as `after` asks for those."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["openai"], route_class=guarded(rooms, Auth.caller))

    def named(request: Request, response_id: str) -> Name:
        return name_of(require(caller_of(request), "generate"), response_id)

    @routes.get(
        ONE_PATH,
        response_class=Response,
        responses={200: {"content": {"application/json": _ONE, "text/event-stream": _STREAM}}},
    )
    async def retrieve_response(
        request: Request,
        response_id: ResponseId,
        *,
        stream: bool = False,
        starting_after: Annotated[int | None, Query(ge=0)] = None,
    ) -> Response:
        """A stored response; with `stream` its events, those after the number `starting_after`."""
        name = named(request, response_id)
        stored = await rooms.responses.find(name)
        if not stream:
            return _json(shown(stored))
        after = NEVER_SENT if starting_after is None else starting_after
        events = followed(rooms.responses, name, stored.body, job=rooms.responses.job(name), after=after)
        headers = {header.decode(): value.decode() for header, value in sse.HEADERS}
        return StreamingResponse(events, headers=headers)

    @routes.delete(ONE_PATH)
    async def delete_response(request: Request, response_id: ResponseId) -> DeletedResponse:
        """Erases a stored response; one that is still being made is called off."""
        await rooms.responses.delete(named(request, response_id))
        return DeletedResponse(id=response_id)

    @routes.post(CANCEL_PATH, response_class=Response, responses={200: {"content": {"application/json": _ONE}}})
    async def cancel_response(request: Request, response_id: ResponseId) -> Response:
        """Calls a background response off; one that has ended stays as it is."""
        return _json(shown(await rooms.responses.cancel(named(request, response_id))))

    @routes.get(ITEMS_PATH)
    async def list_input_items(
        request: Request,
        response_id: ResponseId,
        *,
        order: Literal["asc", "desc"] = "desc",
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(max_length=256)] = None,
    ) -> ResponseItemPage:
        """What was said before the response's answer, also in the responses that it goes on from; newest first."""
        stored = await rooms.responses.find(named(request, response_id))
        items = conversation_of(stored)
        return _page(items if order == "asc" else items[::-1], limit, after)

    return routes


def _json(response: ResponseObject) -> Response:
    return Response(_encode(response), media_type="application/json")


def _page(items: list[ResponseItem], limit: int, after: str | None) -> ResponseItemPage:
    begin = 0
    if after is not None:
        begin = 1 + next((row for row, item in enumerate(items) if item.id == after), len(items))
        if begin > len(items):
            raise FieldInvalid("after is the id of none of the items.", param="after")
    page = items[begin : begin + limit]
    return ResponseItemPage(
        data=[msgspec.to_builtins(item) for item in page],
        first_id=str(page[0].id) if page else "",
        last_id=str(page[-1].id) if page else "",
        has_more=begin + limit < len(items),
    )
