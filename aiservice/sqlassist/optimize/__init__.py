"""The action optimize: rules tried one at a time, each kept only if the rows are the same and the plan is cheaper.

Same means: on several made copies of the schema with the statement's constants in their rows, NULLs and empty tables
among them, and by what the schema says of keys and NULLs where a rule rests on that. Cheaper is what a registered
database's own plan says, else the steps that SQLite takes on a larger copy. "No improvement found" is an answer.
"""

from aiservice.sqlassist.optimize.service import optimize

__all__ = ["optimize"]
