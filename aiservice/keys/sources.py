"""Where requests come from, how often they failed there, and how long a source is held off for it.

All of it is in this process's memory and bounded: with N workers a source has up to N times as many tries.
It is kept by source and never by key, so that whoever knows a kid cannot lock its owner out.
"""

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiservice.core.clock import Clock

WINDOW_S = 60
HOLD_S_MIN = 60
HOLD_S_MAX = 3_600
SOURCES_MAX = 10_000
IPV6_PREFIX = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
V = TypeVar("V")


def source_of(ip: str) -> str:
    """What counts as one source: an IPv4 address, a /64 of IPv6, or the text itself where it is no address."""
    address = address_of(ip)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return ip if address is None else str(address)


def address_of(ip: str) -> Address | None:
    """The address; IPv4 written as IPv6 (`::ffff:192.0.2.1`) is IPv4. None where the text is no address."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_within(ip: str, networks: tuple[Network, ...]) -> bool:
    address = address_of(ip)
    return address is not None and any(address in network for network in networks)


class FailureGuard:
    """Holds a source off after too many failures in a minute: 60 s, doubled each time up to an hour.

    A minute begins with the first failure in it. A source that stays away for an hour after its hold begins anew.
    """

    def __init__(self, failures_per_minute: int, clock: Clock) -> None:
        self._failures_max = failures_per_minute
        self._clock = clock
        self._records: _Recent[_Record] = _Recent(SOURCES_MAX)

    def held_s(self, source: str) -> int:
        """Whole seconds that the source must still wait, 0 when it may try."""
        record = self._records.get(source)
        if record is None:
            return 0
        return max(0, math.ceil(record.held_until_s - self._clock.monotonic_s()))

    def failed(self, source: str) -> None:
        """Counts a failure. Those that were under way when the hold began are not counted again."""
        now_s = self._clock.monotonic_s()
        record = self._records.get(source)
        if record is None or now_s >= max(record.held_until_s + HOLD_S_MAX, record.since_s + WINDOW_S):
            record = _Record(since_s=now_s, failures=0, holds=0, held_until_s=now_s)
        elif now_s < record.held_until_s:
            return
        self._records.put(source, self._with_failure(record, now_s))

    def _with_failure(self, record: "_Record", now_s: float) -> "_Record":
        is_new_minute = now_s >= record.since_s + WINDOW_S
        since_s = now_s if is_new_minute else record.since_s
        failures = 1 if is_new_minute else record.failures + 1
        if failures < self._failures_max:
            return _Record(since_s=since_s, failures=failures, holds=record.holds, held_until_s=record.held_until_s)
        hold_s = min(HOLD_S_MIN * 2**record.holds, HOLD_S_MAX)
        is_longest = hold_s == HOLD_S_MAX
        holds = record.holds if is_longest else record.holds + 1
        return _Record(since_s=now_s, failures=0, holds=holds, held_until_s=now_s + hold_s)


class MinuteLimit:
    """At most so many calls from one source in a minute that begins with the first of them."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._calls_max = per_minute
        self._clock = clock
        self._records: _Recent[tuple[float, int]] = _Recent(SOURCES_MAX)

    def take(self, source: str) -> int:
        """0 when the call is within the limit, else whole seconds to wait."""
        now_s = self._clock.monotonic_s()
        since_s, calls = self._records.get(source) or (now_s, 0)
        if now_s >= since_s + WINDOW_S:
            since_s, calls = now_s, 0
        if calls >= self._calls_max:
            return max(1, math.ceil(since_s + WINDOW_S - now_s))
        self._records.put(source, (since_s, calls + 1))
        return 0


@dataclass(frozen=True, slots=True)
class _Record:
    since_s: float
    failures: int
    holds: int
    held_until_s: float


class _Recent(Generic[V]):
    """A bounded table by source; the one that was written longest ago leaves first."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._values: OrderedDict[str, V] = OrderedDict()

    def get(self, source: str) -> V | None:
        return self._values.get(source)

    def put(self, source: str, value: V) -> None:
        self._values[source] = value
        self._values.move_to_end(source)
        if len(self._values) > self._size_max:
            self._values.popitem(last=False)
