"""How tables hang together: the shortest ways over foreign keys."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiservice.sqlassist.schema import Schema, Table

STEPS_MAX = 5


@dataclass(frozen=True, slots=True)
class Step:
    """From the table before to `table`; `pairs` are (column there, column here)."""

    table: Table
    pairs: tuple[tuple[str, str], ...]
    is_to_many: bool


@lru_cache(maxsize=4)
def _edges(schema: Schema) -> Mapping[str, Sequence[Step]]:
    edges: dict[str, list[Step]] = {table.name: [] for table in schema.tables}
    for table in schema.tables:
        for key in table.foreign_keys:
            target = schema.table(key.table)
            if target is None or len(key.columns) != len(key.references):
                continue
            there = tuple(zip(key.columns, key.references, strict=True))
            back = tuple(zip(key.references, key.columns, strict=True))
            edges[table.name].append(Step(target, there, is_to_many=False))
            edges[target.name].append(Step(table, back, is_to_many=True))
    return edges


def path_between(schema: Schema, start: str, end: str) -> Sequence[Step] | None:
    """The shortest way, declared and inferred keys alike; None where there is none of at most 5 steps."""
    edges = _edges(schema)
    waiting: deque[tuple[str, tuple[Step, ...]]] = deque([(start, ())])
    seen = {start}
    while waiting:
        name, steps = waiting.popleft()
        if name == end:
            return steps
        if len(steps) >= STEPS_MAX:
            continue
        for step in edges.get(name, ()):
            if step.table.name not in seen:
                seen.add(step.table.name)
                waiting.append((step.table.name, (*steps, step)))
    return None
