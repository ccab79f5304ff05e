"""The machine: a task goes in, an answer comes out. Pure but for the databases that it opens; runs in a sandbox."""

from collections.abc import Callable, Mapping

from aiservice.sqlassist import explain, fix, generate, optimize
from aiservice.sqlassist.case import Case, open_case
from aiservice.sqlassist.live import open_live
from aiservice.sqlassist.model import Action, Answer, Brief, Grid, Query, Task

ACTIONS: Mapping[Action, Callable[[Case], Answer]] = {
    "explain": explain.explain,
    "fix": fix.fix,
    "generate": generate.generate,
    "optimize": optimize.optimize,
}

# What a model may help with: proposals for generate, other words for explain.
BRIEFS: Mapping[Action, Callable[[Case], Brief | None]] = {"generate": generate.brief, "explain": explain.brief}


def assist(task: Task) -> Answer:
    """The answer to a task, with all that was found to prove it."""
    with open_case(task) as case:
        return ACTIONS[task.action](case)


def brief(task: Task) -> Brief | None:
    """What a model is asked for this task; None for actions that need none."""
    if task.action not in BRIEFS:
        return None
    with open_case(task) as case:
        return BRIEFS[task.action](case)


def run(query: Query) -> Grid:
    """The rows of one statement that reads, on a registered database."""
    with open_live(query.database) as live:
        return live.grid(query.sql, rows_max=query.rows_max, seconds=query.deadline_s)
