import json
import threading

import pytest

from aiservice.cli.public_api import NoAnswer, PublicApi
from tests.unit.cli.http_server import Reply, serving

ANSWER = {
    "id": "1",
    "model": "m",
    "engine": "e",
    "response": " Docker is. ",
    "finish_reason": "stop",
    "cached": False,
    "usage": {"prompt_tokens": 3, "completion_tokens": 10, "total_tokens": 13},
    "response_time_ms": 200,
}


def test_a_question_is_asked_with_the_key_and_not_from_the_cache():
    with serving({"/ai/generate": Reply(json.dumps(ANSWER).encode())}) as (url, asked):
        answer = PublicApi(url, api_key="k").generate("What?", max_tokens=7, timeout_s=5)

    assert (answer.text, answer.model, answer.tokens_per_s) == ("Docker is.", "m", 50)
    assert json.loads(asked[0].body) == {"prompt": "What?", "max_tokens": 7, "temperature": 0}
    assert asked[0].headers["x-api-key"] == "k"
    assert asked[0].headers["cache-control"] == "no-store"


def test_without_a_key_no_key_is_sent():
    with serving({"/health/live": Reply(b'{"status": "ok"}')}) as (url, asked):
        assert PublicApi(url).is_live()

    assert "x-api-key" not in asked[0].headers


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b'{"error": {"message": "The engine failed."}}', status=502), "The engine failed."),
        (Reply(b"<html>", status=502), "status 502"),
        (Reply(b"[]"), "no JSON object"),
        (Reply(b"<html>"), "Expecting value"),
    ],
)
def test_what_went_wrong_is_a_sentence(reply, said):
    with serving({"/ai/generate": reply}) as (url, _), pytest.raises(NoAnswer, match=said):
        PublicApi(url).generate("What?", max_tokens=1, timeout_s=5)


def test_a_slow_answer_is_not_waited_for():
    release = threading.Event()
    with serving({"/ai/generate": Reply(b"{}", release=release)}) as (url, _):
        with pytest.raises(NoAnswer, match=r"no answer within 0\.1 s"):
            PublicApi(url).generate("What?", max_tokens=1, timeout_s=0.1)
        release.set()


def test_another_program_is_not_this_service():
    with serving({"/health/live": Reply(b'{"up": true}')}) as (url, _):
        assert not PublicApi(url).is_live()


def test_nobody_there():
    assert not PublicApi("http://127.0.0.1:9").is_live()
    assert not PublicApi("http://127.0.0.1:9").answers("/api/version")
