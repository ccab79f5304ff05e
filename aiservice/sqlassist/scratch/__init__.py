"""Copies of a schema in memory, with made rows, to run statements on: SQLite first, DuckDB for what that cannot say.

A copy is made for the statements that are to be told apart: the constants that they compare with stand in its rows,
and so do near misses, NULLs, duplicates, empty texts, zero and negative numbers. Nothing here opens a file.
"""

from aiservice.sqlassist.scratch.copy import Scratch, open_scratch

__all__ = ["Scratch", "open_scratch"]
