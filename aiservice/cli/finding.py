"""What a check of `aiservice doctor` comes to."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How a check came out; `OPTIONAL` is missing and not needed to start."""

    OK = "ok"
    OPTIONAL = "optional"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, what was found, and what to do where it is not ok."""

    name: str
    state: State
    found: str
    mend: str = ""
