"""The rate limit headers in their three dialects."""

import pytest

from aiservice.limits import Decision, Standing, headers

REQUESTS = Standing("requests:key:a", 100, 97, 1_750_000_108, 0, 108, 3_600)
TOKENS = Standing("tokens:key:a", 1_000, 400, 1_750_002_160, 0, 2_160, 3_600)


def test_an_allowed_request_shows_its_bucket_in_every_dialect() -> None:
    assert headers.of(Decision(True, (REQUESTS,))) == [
        (b"x-ratelimit-limit", b"100"),
        (b"x-ratelimit-remaining", b"97"),
        (b"x-ratelimit-reset", b"1750000108"),
        (b"x-ratelimit-limit-requests", b"100"),
        (b"x-ratelimit-remaining-requests", b"97"),
        (b"x-ratelimit-reset-requests", b"1m48s"),
        (b"ratelimit-policy", b'"requests";q=100;w=3600'),
        (b"ratelimit", b'"requests";r=97;t=108'),
    ]


def test_tokens_have_lines_of_their_own() -> None:
    found = headers.of(Decision(True, (REQUESTS, TOKENS)))
    assert found[:8] == headers.of(Decision(True, (REQUESTS,)))
    assert found[8:] == [
        (b"x-ratelimit-limit-tokens", b"1000"),
        (b"x-ratelimit-remaining-tokens", b"400"),
        (b"x-ratelimit-reset-tokens", b"36m0s"),
        (b"ratelimit-policy", b'"tokens";q=1000;w=3600'),
        (b"ratelimit", b'"tokens";r=400;t=2160'),
    ]


def test_of_several_limits_of_a_kind_the_tightest_speaks() -> None:
    tenant = Standing("requests:tenant:acme", 5_000, 12, 1_750_000_999, 0, 999, 3_600)
    found = dict(headers.of(Decision(True, (REQUESTS, tenant))))
    assert (found[b"x-ratelimit-limit"], found[b"x-ratelimit-remaining"]) == (b"5000", b"12")


def test_a_refusal_shows_the_limit_that_refused() -> None:
    empty_later = Standing("requests:tenant:acme", 5_000, 3, 1_750_000_999, 9, 999, 3_600)
    decision = Decision(False, (REQUESTS, empty_later), "requests:tenant:acme", 9)
    found = dict(headers.of(decision))
    assert found[b"x-ratelimit-limit"] == b"5000"


def test_when_to_try_again_is_said_by_the_error_and_not_here() -> None:
    empty = Standing("requests:key:a", 100, 0, 1_750_003_600, 36, 3_600, 3_600)
    found = dict(headers.of(Decision(False, (empty,), "requests:key:a", 36)))
    assert found[b"x-ratelimit-remaining"] == b"0"
    assert b"retry-after" not in found


def test_a_decision_over_no_bucket_has_no_headers() -> None:
    assert headers.of(Decision(True, ())) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m0s"), (360, "6m0s"), (3_599, "59m59s"), (3_600, "1h0m0s"), (90_061, "25h1m1s")],
)
def test_a_duration_reads_as_openai_writes_it(seconds: int, text: str) -> None:
    assert headers.duration(seconds) == text


def test_anthropic_s_names_say_the_same_with_the_time_of_the_reset() -> None:
    tenant = Standing("tokens:tenant:acme", 5_000, 12, 1_750_000_999, 0, 999, 3_600)
    assert headers.for_anthropic(Decision(True, (REQUESTS, TOKENS, tenant))) == [
        (b"anthropic-ratelimit-requests-limit", b"100"),
        (b"anthropic-ratelimit-requests-remaining", b"97"),
        (b"anthropic-ratelimit-requests-reset", b"2025-06-15T15:08:28Z"),
        (b"anthropic-ratelimit-tokens-limit", b"5000"),
        (b"anthropic-ratelimit-tokens-remaining", b"12"),
        (b"anthropic-ratelimit-tokens-reset", b"2025-06-15T15:23:19Z"),
    ]
    assert headers.for_anthropic(Decision(True, ())) == []
