"""How sure a reading is: what was doubtful about it, weighed by how often such readings were wrong."""

from collections.abc import Mapping

from aiservice.sqlassist.generate.readings import Reading
from aiservice.sqlassist.runner import Rows

START = 0.96
ANSWERED = 0.4
VERIFIED = 0.9
_WEIGHTS: Mapping[str, float] = {
    "column": 0.1, "table": 0.15, "value": 0.1, "part": 0.2, "shown": 0.1, "bare": 0.2, "duplicates": 0.25,
    "both": 0.1, "number": 0.2, "adjective": 0.2, "date": 0.1, "year": 0.1, "count": 0.02,
    "mixed": 0.6, "far": 0.07, "shared": 0.1, "guess": 0.3, "without": 0.08,
}  # fmt: skip
TURN = 0.25
EMPTY = 0.12
NULLS = 0.4
NOT_RUN = 0.2


def sureness(reading: Reading, rows: Rows | None) -> float:
    """From 0 to 1, before other readings and proposals are looked at."""
    score = START - sum(_WEIGHTS.get(doubt, 0.1) for doubt in reading.parsed.doubts)
    if reading.parsed.turn:
        score -= TURN
    if rows is None:
        score -= NOT_RUN
    elif not rows.rows:
        score -= EMPTY
    elif all(cell is None for row in rows.rows for cell in row):
        score -= NULLS
    return max(0.05, score)
