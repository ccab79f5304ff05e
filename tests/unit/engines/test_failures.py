import pytest

from aiservice.core.errors import EngineBusy, EngineError, EngineRefused, EngineTimeout, EngineUnreachable
from aiservice.engines import failures

STATUSES = [
    (400, EngineRefused),
    (404, EngineRefused),
    (413, EngineRefused),
    (422, EngineRefused),
    (401, EngineError),
    (403, EngineError),
    (429, EngineBusy),
    (503, EngineBusy),
    (408, EngineTimeout),
    (504, EngineTimeout),
    (302, EngineError),
    (500, EngineError),
    (502, EngineError),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_each_status_has_its_error(status: int, kind: type[EngineError]):
    error = failures.from_status(status, b'{"error": {"message": "the reason"}}', None)

    assert type(error) is kind
    assert str(status) in str(error.detail)
    assert "the reason" in str(error.detail)
    assert ("the reason" in error.public) == (kind is EngineRefused)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "the reason", "code": 400, "type": "x"}}',
        b'{"error": "the reason"}',
        b'{"message": "the reason"}',
        b'{"detail": "the reason"}',
    ],
)
def test_the_message_is_found(body: bytes):
    assert failures.from_status(400, body, None).public == "The engine did not accept the request: the reason"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": 5}', b"[1]", b'{"error": null}', b"\xff\xfe"])
def test_a_body_that_cannot_be_read_gives_the_title(body: bytes):
    assert failures.from_status(400, body, None).public == EngineRefused.title


def test_wrong_credentials_are_the_operators_business():
    error = failures.from_status(401, b'{"error": {"message": "Incorrect API key provided: sk-abcdefghij"}}', None)

    assert "credentials" in error.public
    assert "sk-" not in str(error)


@pytest.mark.parametrize(
    ("header", "wait_s"), [("7", 7), (None, 1), ("0", 1), ("99999999999", 300), ("Wed, 21 Oct 2026 07:28:00 GMT", 1)]
)
def test_retry_after(header: str | None, wait_s: int):
    error = failures.from_status(429, b"{}", header)

    assert error.retry_after_s == wait_s
    assert f"try again in {wait_s} s" in error.public


def test_loading_says_so():
    assert "loading" in failures.from_status(503, b'{"error": {"message": "Loading model"}}', None).public


@pytest.mark.parametrize(
    "secret",
    [
        "http://10.1.2.3:8000/v1/x?key=abc",
        "https://user:pass@llm.internal/path",
        "unix:///tmp/x.sock",
        "10.1.2.3:8000",
        "[::1]:8000",
        "localhost:11434",
        "sk-proj-abcdefgh12345678",
        "Bearer abcdefgh12345678",
        "/home/someone/models/secret.gguf",
        "/root/.ollama/models/blobs",
        "C:\\models\\secret.gguf",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_secrets_are_taken_out(secret: str):
    said = failures.cleaned(f"could not do it ({secret}) at all")

    assert secret not in said
    assert said.startswith("could not do it")
    assert said.endswith("at all")


@pytest.mark.parametrize("text", ["meta-llama/Llama-3.2-1B", "a and/or b", "llama3.2:1b", "8192 tokens, 1.5x", "key"])
def test_ordinary_words_are_left_alone(text: str):
    assert failures.cleaned(text) == text


def test_a_message_is_one_bounded_line():
    said = failures.cleaned("a\nb\x00\x1b[31m" + "x" * 10_000)

    assert len(said) == failures.PUBLIC_LENGTH_MAX
    assert said.startswith("a b [31mx")
    assert said.endswith("...")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("it broke", EngineError),
        (failures.Said("it broke", 500), EngineError),
        (failures.Said("too long", "context_length_exceeded"), EngineRefused),
        (failures.Said("too long", 400), EngineRefused),
        (failures.Said("busy", 429), EngineBusy),
    ],
)
def test_errors_in_a_stream(said: failures.Said | str, kind: type[EngineError]):
    assert type(failures.from_stream(said)) is kind


def test_unreachable_and_cut_keep_what_happened_for_the_log():
    unreachable = failures.unreachable(ConnectionRefusedError("connect to 10.0.0.1:80 failed"))

    assert isinstance(unreachable, EngineUnreachable)
    assert "ConnectionRefusedError" in str(unreachable.detail)
    assert "10.0.0.1" not in str(unreachable)
    assert type(failures.cut()) is EngineError
