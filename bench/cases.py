"""The cases: what every target is asked, in the same words and the same number at once."""

from dataclasses import dataclass

from engine import PACED_MODEL, PLAIN_MODEL

CROWD = 256
PROMPT = (
    "Explain in a few sentences what a container is, how it differs from a virtual machine, which parts of "
    "the kernel it rests on, and when a small team should prefer the one over the other for a web service."
)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of work. `unit` is what CPU time is divided by: a request or a token."""

    name: str
    title: str
    unit: str
    model: str
    concurrency: int
    tokens: int = 0
    is_cached: bool = False
    # Few tokens a second: a longer run, so that the steps of the CPU clock (10 ms) stay small beside the sum.
    duration_factor: int = 1

    @property
    def is_stream(self) -> bool:
        return self.tokens > 0


CASES = (
    Case("cached", "cached answer", "request", PLAIN_MODEL, concurrency=64, is_cached=True),
    Case("shared", "cached answer through Redis", "request", PLAIN_MODEL, concurrency=64, is_cached=True),
    Case("proxied", "proxied request", "request", PLAIN_MODEL, concurrency=64),
    Case("paced", "streamed token, 40 streams, 10 ms a token", "token", PACED_MODEL, concurrency=40, tokens=100),
    Case(
        "calm",
        "streamed token, 4 streams, 10 ms a token",
        "token",
        PACED_MODEL,
        concurrency=4,
        tokens=100,
        duration_factor=2,
    ),
    Case("burst", "streamed token, 8 streams, no pause", "token", PLAIN_MODEL, concurrency=8, tokens=200),
)
