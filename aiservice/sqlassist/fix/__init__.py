"""Mends SQL: text first, until it parses; then names, until they resolve; then it is run.

Nothing is returned that does not parse in the asked dialect and, where the schema is known, resolve against it. What is
repaired is said with its reason, step by step; what cannot be is refused. Statements that write are mended by parsing
alone and never run.
"""

from aiservice.sqlassist.fix.service import fix

__all__ = ["fix"]
