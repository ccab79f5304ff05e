"""Every error of the tree in every vendor's words: status, body, headers, and the event inside a stream."""

import json
from typing import Any

import pytest

from aiservice.api.surfaces import (
    ANTHROPIC,
    NATIVE,
    OLLAMA,
    OPENAI,
    Surface,
    ThreadUnsupported,
    shown_id,
    surface_of,
    surface_of_path,
    surfaces_of_path,
)
from aiservice.core import errors
from aiservice.core.errors import AIServiceError, EngineBusy, FieldInvalid, KeyRefused, ModelUnknown, StartRefused
from aiservice.limits import Decision, TakeRefused
from aiservice.limits.model import NEVER_S, Standing

ID = "request-7"


def tree(root: type[AIServiceError] = AIServiceError) -> list[type[AIServiceError]]:
    return [kind for child in root.__subclasses__() for kind in (child, *tree(child)) if "code" in vars(child)]


ERRORS = [kind for kind in dict.fromkeys(tree()) if not issubclass(kind, StartRefused)]


def body(surface: Surface, error: AIServiceError) -> Any:
    return json.loads(surface.body(error, ID))


def headers(surface: Surface, error: AIServiceError) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in surface.headers(error, ID)}


def refusal(kind: str = "requests:key:k", retry_after_s: int = 36) -> TakeRefused:
    return TakeRefused(Decision(False, (Standing(kind, 100, 0, 1_750_003_600, 36),), kind, retry_after_s))


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_each_vendors_form(kind: type[AIServiceError]) -> None:
    error = kind("What to change.", param="model")

    assert body(NATIVE, error)["error"].keys() == {"message", "type", "param", "code"}
    assert body(OPENAI, error)["error"].keys() == {"message", "type", "param", "code"}
    assert body(ANTHROPIC, error).keys() == {"type", "error", "request_id"}
    assert body(ANTHROPIC, error)["error"].keys() == {"type", "message"}
    assert body(OLLAMA, error) == {"error": "What to change."}
    for surface in (OPENAI, ANTHROPIC, OLLAMA):
        assert surface.status(error) not in {415, 422}
        assert "What to change." in surface.event(error, ID).decode()


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_no_code_of_ours_with_a_dot_reaches_a_vendors_client_for_what_the_vendor_has_a_code_for(
    kind: type[AIServiceError],
) -> None:
    code = body(OPENAI, kind())["error"]["code"]

    if kind.status in {400, 401, 403, 413, 415, 422, 429} and kind.code.split(".")[0] in {"keys", "limits", "engines"}:
        assert "." not in code


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (KeyRefused(), 401, "invalid_request_error", "invalid_api_key"),
        (ModelUnknown(), 404, "invalid_request_error", "model_not_found"),
        (FieldInvalid("n is 0.", param="n"), 400, "invalid_request_error", "invalid_value"),
        (EngineBusy(), 503, "server_error", "server_is_overloaded"),
        (refusal(), 429, "requests", "rate_limit_exceeded"),
        (refusal("tokens:key:k"), 429, "tokens", "rate_limit_exceeded"),
        (refusal(retry_after_s=NEVER_S), 429, "insufficient_quota", "insufficient_quota"),
    ],
)
def test_openais_words(error: AIServiceError, status: int, kind: str, code: str) -> None:
    said = body(OPENAI, error)["error"]

    assert (OPENAI.status(error), said["type"], said["code"]) == (status, kind, code)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (KeyRefused(), 401, "authentication_error"),
        (errors.NotAllowed(), 403, "permission_error"),
        (ModelUnknown(), 404, "not_found_error"),
        (FieldInvalid(), 400, "invalid_request_error"),
        (errors.BodyTooLarge(), 413, "invalid_request_error"),
        (refusal(), 429, "rate_limit_error"),
        (EngineBusy(), 529, "overloaded_error"),
        (errors.EngineError(), 502, "api_error"),
        (errors.EngineTimeout(), 504, "timeout_error"),
        (errors.Unexpected(), 500, "api_error"),
    ],
)
def test_anthropics_words(error: AIServiceError, status: int, kind: str) -> None:
    said = body(ANTHROPIC, error)

    assert (ANTHROPIC.status(error), said["error"]["type"]) == (status, kind)
    assert (said["type"], said["request_id"]) == ("error", ID)
    assert headers(ANTHROPIC, error)["request-id"] == ID


@pytest.mark.parametrize("surface", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (refusal(), {"x-should-retry": "true", "retry-after": "36", "retry-after-ms": "36000"}),
        (refusal(retry_after_s=61), {"x-should-retry": "false", "retry-after": "61", "retry-after-ms": "61000"}),
        (EngineBusy(retry_after_s=2), {"x-should-retry": "true", "retry-after": "2", "retry-after-ms": "2000"}),
        (errors.EngineError(), {"x-should-retry": "true"}),
        (errors.EngineRefused(), {"x-should-retry": "false"}),
        (KeyRefused(), {"x-should-retry": "false"}),
    ],
)
def test_clients_hear_whether_and_when_to_ask_again(
    surface: Surface, error: AIServiceError, says: dict[str, str]
) -> None:
    heard = headers(surface, error)

    names = ("x-should-retry", "retry-after", "retry-after-ms")
    assert {name: heard[name] for name in names if name in heard} == says


def test_events_are_framed_as_each_vendors_client_reads_them() -> None:
    error = EngineBusy("Busy.")

    assert NATIVE.event(error, ID) == b"data: " + NATIVE.body(error, ID) + b"\n\n"
    assert OPENAI.event(error, ID) == b"data: " + OPENAI.body(error, ID) + b"\n\n"
    assert ANTHROPIC.event(error, ID) == b"event: error\ndata: " + ANTHROPIC.body(error, ID) + b"\n\n"
    assert OLLAMA.event(error, ID) == b'{"error":"Busy."}\n'


@pytest.mark.parametrize(
    ("path", "version", "surface"),
    [
        ("/ai/generate", False, NATIVE),
        ("/v1x", False, NATIVE),
        ("/v1/chat/completions", True, OPENAI),
        ("/v1/messages", False, ANTHROPIC),
        ("/v1/messages/count_tokens", False, ANTHROPIC),
        ("/v1/messagesx", False, OPENAI),
        ("/v1/models", False, OPENAI),
        ("/v1/models", True, ANTHROPIC),
        ("/v1/models/m", True, ANTHROPIC),
        ("/v1/unknown", False, OPENAI),
        ("/api/chat", False, OLLAMA),
    ],
)
def test_the_path_tells_the_surface(path: str, version: bool, surface: Surface) -> None:
    sent = [(b"anthropic-version", b"2023-06-01")] if version else []

    assert surface_of({"path": path, "headers": sent}) is surface
    if not version:
        assert surface_of_path(path) is surface


def test_the_id_that_is_shown_is_the_clients_own_where_it_sent_one() -> None:
    assert shown_id({"request_id": "ours"}) == "ours"
    assert shown_id({"request_id": "ours", "aiservice.shown_request_id": "theirs"}) == "theirs"


def test_the_list_of_models_may_answer_in_two_forms() -> None:
    assert surfaces_of_path("/v1/models/{model_id}") == (OPENAI, ANTHROPIC)
    assert surfaces_of_path("/v1/messages") == (ANTHROPIC,)
    assert surfaces_of_path("/v1/embeddings") == (OPENAI,)


def test_a_refusal_that_anthropic_s_client_knows_has_its_code() -> None:
    assert json.loads(ANTHROPIC.body(ThreadUnsupported(), "req"))["error"] == {
        "type": "invalid_request_error",
        "message": "thread is not supported: conversations are not kept here; send all of the messages.",
        "details": {"error_code": "thread_unsupported_request"},
    }
