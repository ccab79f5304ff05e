"""Registered databases, opened read-only: their schema, their plans, and the rows of statements that read.

A statement is gated before, but nothing here relies on that: the connections themselves cannot write. SQLite is opened
`mode=ro` with an authorizer and a progress handler, PostgreSQL and MySQL in a transaction that is READ ONLY, with a
statement timeout. A database that is down raises `DatabaseDown`, whose words have no password.
"""

from aiservice.sqlassist.live.connect import Live, open_live

__all__ = ["Live", "open_live"]
