"""How long a source is held off, and what counts as one."""

import pytest

from aiservice.core.clock import ManualClock
from aiservice.keys.sources import SOURCES_MAX, FailureGuard, MinuteLimit, source_of


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def fail(guard: FailureGuard, source: str, times: int) -> None:
    for _ in range(times):
        guard.failed(source)


@pytest.mark.parametrize(
    ("ip", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_one_source(ip: str, source: str):
    assert source_of(ip) == source


def test_ten_failures_in_a_minute_hold_off_for_a_minute(clock: ManualClock):
    guard = FailureGuard(10, clock)

    fail(guard, "a", 9)
    assert guard.held_s("a") == 0

    fail(guard, "a", 1)
    assert guard.held_s("a") == 60
    assert guard.held_s("b") == 0

    clock.advance_s(59.5)
    assert guard.held_s("a") == 1
    clock.advance_s(0.5)
    assert guard.held_s("a") == 0


def test_slow_failures_never_hold_off(clock: ManualClock):
    guard = FailureGuard(10, clock)

    for _ in range(50):
        guard.failed("a")
        clock.advance_s(6.7)

    assert guard.held_s("a") == 0


def test_each_hold_is_twice_as_long_up_to_an_hour(clock: ManualClock):
    guard = FailureGuard(10, clock)
    holds = []

    for _ in range(9):
        fail(guard, "a", 10)
        holds.append(guard.held_s("a"))
        clock.advance_s(holds[-1])

    assert holds == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_failures_under_way_when_the_hold_began_count_once(clock: ManualClock):
    guard = FailureGuard(10, clock)

    fail(guard, "a", 100)

    assert guard.held_s("a") == 60


def test_an_hour_of_peace_is_a_new_beginning(clock: ManualClock):
    guard = FailureGuard(10, clock)
    fail(guard, "a", 10)
    clock.advance_s(60)
    fail(guard, "a", 10)
    assert guard.held_s("a") == 120

    clock.advance_s(120 + 3600)
    fail(guard, "a", 10)

    assert guard.held_s("a") == 60


def test_memory_is_bounded(clock: ManualClock):
    guard = FailureGuard(1, clock)

    for number in range(SOURCES_MAX + 1):
        guard.failed(str(number))

    assert guard.held_s("0") == 0
    assert guard.held_s("1") == 60


def test_a_minute_limit_says_how_long_to_wait(clock: ManualClock):
    limit = MinuteLimit(3, clock)

    assert [limit.take("a") for _ in range(3)] == [0, 0, 0]
    clock.advance_s(20)
    assert limit.take("a") == 40
    assert limit.take("b") == 0

    clock.advance_s(40)
    assert limit.take("a") == 0
