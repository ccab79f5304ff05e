"""SQL assist: generate, explain, optimize and fix SQL, with answers that are proven.

The machine proves, the model proposes. Nothing is answered as SQL that does not parse in the asked dialect and
resolve against the schema, and nothing is called verified that was not run; what cannot be answered is refused with
the reason. Schemas, cell values and statements are data of strangers: they are parsed and run only in the sandbox
processes, which have no files to write, little memory and a deadline, and a statement runs only when the gate knows
it for one that reads, on a connection that can do nothing else.

A sandbox that dies or is killed at its deadline is replaced and its request answered with 504. A registered database
that is down is 503. Workers import this package's types, port and client only; sqlglot loads in the sandboxes.
"""

from aiservice.sqlassist.model import (
    Action,
    Alternative,
    Answer,
    Brief,
    Change,
    Explanation,
    Facts,
    Grid,
    GridColumn,
    Plan,
    Query,
    Refusal,
    Target,
    Task,
    Verification,
    dialect_named,
)
from aiservice.sqlassist.port import Machine

__all__ = [
    "Action",
    "Alternative",
    "Answer",
    "Brief",
    "Change",
    "Explanation",
    "Facts",
    "Grid",
    "GridColumn",
    "Machine",
    "Plan",
    "Query",
    "Refusal",
    "Target",
    "Task",
    "Verification",
    "dialect_named",
]
