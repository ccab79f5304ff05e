"""The machine's clock and the one that tests move."""

import time

from aiservice.core.clock import Clock, ManualClock, SystemClock


def test_system_clock_is_the_machine_s():
    clock: Clock = SystemClock()
    before_us = time.time_ns() // 1000

    assert before_us <= clock.now_us() <= time.time_ns() // 1000
    assert clock.monotonic_s() <= clock.monotonic_s() <= time.monotonic()


def test_manual_clock_moves_only_when_told():
    clock: Clock = ManualClock(5_000_000)

    assert clock.now_us() == clock.now_us() == 5_000_000
    assert clock.monotonic_s() == 5.0


def test_manual_clock_advances_both_times():
    clock = ManualClock(1_000_000)
    clock.advance_s(2.5)

    assert clock.now_us() == 3_500_000
    assert clock.monotonic_s() == 3.5


def test_manual_clock_may_jump_back():
    clock = ManualClock(9_000_000)
    clock.set_us(1_000_000)

    assert clock.now_us() == 1_000_000
