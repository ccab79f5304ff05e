from aiservice.core.clock import ManualClock
from aiservice.server.restarts import RestartPolicy


def test_four_deaths_are_answered_at_once():
    policy = RestartPolicy(ManualClock())

    assert [policy.pause_s() for _ in range(4)] == [0, 0, 0, 0]


def test_from_the_fifth_death_in_a_minute_pauses_double_up_to_30_s():
    clock = ManualClock()
    policy = RestartPolicy(clock)
    pauses = []
    for _ in range(11):
        pauses.append(policy.pause_s())
        clock.advance_s(pauses[-1] + 0.1)

    assert pauses == [0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30]


def test_deaths_more_than_12_s_apart_bring_no_pause():
    clock = ManualClock()
    policy = RestartPolicy(clock)
    pauses = []
    for _ in range(20):
        pauses.append(policy.pause_s())
        clock.advance_s(15.1)

    assert set(pauses) == {0}


def test_a_minute_without_a_death_forgets_the_pause():
    clock = ManualClock()
    policy = RestartPolicy(clock)
    for _ in range(6):
        policy.pause_s()
    clock.advance_s(60.1)

    assert policy.pause_s() == 0
