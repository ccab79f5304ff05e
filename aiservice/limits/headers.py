"""What a decision says in an answer's headers, in the dialects that clients read.

`x-ratelimit-*` of the platform's document (reset in epoch seconds), OpenAI's `x-ratelimit-*-{requests,tokens}` (reset
as a duration) and the IETF draft's `ratelimit` and `ratelimit-policy`; on Anthropic's routes `anthropic-ratelimit-*`
too (reset in RFC 3339). Of several limits of a kind the tightest speaks.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from aiservice.limits.model import Decision, Standing

Header = tuple[bytes, bytes]


def of(decision: Decision) -> list[Header]:
    """The headers, names in lower case; empty for a decision over no bucket."""
    if len(decision.standings) == 1 and decision.is_allowed:
        return _requests(decision.standings[0])
    requests = _of_kind(decision, "requests:")
    tokens = _of_kind(decision, "tokens:")
    headers = _requests(tightest(requests)) if requests else []
    if tokens:
        headers += _tokens(tightest(tokens))
    return headers


def for_anthropic(decision: Decision) -> list[Header]:
    """Anthropic's own names for the same; empty for a decision over no bucket."""
    headers: list[Header] = []
    for kind in ("requests", "tokens"):
        if standings := _of_kind(decision, f"{kind}:"):
            standing = tightest(standings)
            reset = datetime.fromtimestamp(standing.reset_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            facts = {"limit": str(standing.limit), "remaining": str(standing.remaining), "reset": reset}
            headers += [
                (f"anthropic-ratelimit-{kind}-{name}".encode(), value.encode()) for name, value in facts.items()
            ]
    return headers


def tightest(standings: Sequence[Standing]) -> Standing:
    """The one of a kind with the least left, and of those the one that is longest from full; at least one is needed.

    It follows from the state alone, so that who asks later hears of the same one as who was refused.
    """
    return min(standings, key=lambda standing: (standing.remaining, -standing.reset_after_s))


def duration(seconds: int) -> str:
    """Seconds as OpenAI writes them: 0s, 59s, 6m0s, 1h0m1s."""
    minutes, seconds = divmod(seconds, 60)
    if minutes == 0:
        return f"{seconds}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"


def _of_kind(decision: Decision, kind: str) -> list[Standing]:
    return [standing for standing in decision.standings if standing.bucket_id.startswith(kind)]


def _requests(standing: Standing) -> list[Header]:
    limit, remaining = b"%d" % standing.limit, b"%d" % standing.remaining
    return [
        (b"x-ratelimit-limit", limit),
        (b"x-ratelimit-remaining", remaining),
        (b"x-ratelimit-reset", b"%d" % standing.reset_at_s),
        (b"x-ratelimit-limit-requests", limit),
        (b"x-ratelimit-remaining-requests", remaining),
        (b"x-ratelimit-reset-requests", duration(standing.reset_after_s).encode()),
        (b"ratelimit-policy", b'"requests";q=%d;w=%d' % (standing.limit, standing.window_s)),
        (b"ratelimit", b'"requests";r=%d;t=%d' % (standing.remaining, standing.reset_after_s)),
    ]


def _tokens(standing: Standing) -> list[Header]:
    # A list header may stand in several lines; each kind has its own.
    return [
        (b"x-ratelimit-limit-tokens", b"%d" % standing.limit),
        (b"x-ratelimit-remaining-tokens", b"%d" % standing.remaining),
        (b"x-ratelimit-reset-tokens", duration(standing.reset_after_s).encode()),
        (b"ratelimit-policy", b'"tokens";q=%d;w=%d' % (standing.limit, standing.window_s)),
        (b"ratelimit", b'"tokens";r=%d;t=%d' % (standing.remaining, standing.reset_after_s)),
    ]
