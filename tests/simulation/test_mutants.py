"""The simulation can fail: rooms that are wrong in one way are found out within a few seeds."""

import pytest

from tests.simulation import mutants
from tests.simulation.simulation import Simulation
from tests.simulation.worker import Parts

SEEDS_MAX = 200

MUTANTS = {
    mutants.RememberedLimits: "limiter_agrees_with_its_model",
    mutants.DoubleRefunds: "limiter_agrees_with_its_model",
    mutants.NoSettlements: "takes_come_to_what_was_used",
    mutants.LateWrites: "ledger_is_exact",
    mutants.EagerRotation: "ledger_is_exact",
    mutants.RepeatedRows: "ledger_is_exact",
    mutants.TrustedPrimary: "ledger_is_exact",
    mutants.NoLeases: "one_flight_at_a_time",
    mutants.DeafLeaders: "who_waits_elsewhere_is_heard",
    mutants.WantedForEver: "nobody_s_call_is_closed",
    mutants.HoardedEntries: "entries_are_as_promised",
    mutants.OneTenant: "answers_are_right",
}
# These only show where a worker dies or a client leaves at the wrong moment, which takes some dozen seeds.
RARE = (mutants.LateWrites, mutants.EagerRotation, mutants.DeafLeaders, mutants.WantedForEver, mutants.TrustedPrimary)


def cases() -> list[object]:
    return [
        pytest.param(mutant, check, id=mutant.__name__, marks=[pytest.mark.slow] if mutant in RARE else [])
        for mutant, check in MUTANTS.items()
    ]


@pytest.mark.parametrize(("mutant", "check"), cases())
def test_a_wrong_room_is_found_out(simulation: Simulation, mutant: type[Parts], check: str) -> None:
    for seed in range(SEEDS_MAX):
        wrong = simulation.run(seed, mutant()).wrong
        if any(text.startswith(f"{check}:") for text in wrong):
            return
    pytest.fail(f"{SEEDS_MAX} seeds passed")
