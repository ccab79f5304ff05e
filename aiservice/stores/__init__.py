"""Plumbing only: tables, pools and connections, migrations and the loop that polls. No business words, no policy.

The embedded default keeps three SQLite files in DATA_DIR: `main.db` (keys, rules of limits, answers to idempotency
keys, ledger, audit; migrated), `limits.db` and `cache.db` (each created and rebuilt by the room that owns it), so that
a batch insert never holds up a take. With POSTGRES_URL the main database is on PostgreSQL, where each transaction says
for which tenant or purpose it is and row level security shows it no other rows; Redis takes the place of the other two.
A database that cannot be used raises `StoreUnavailable`, within what connecting, the pool and a statement may take; it
never looks like a missing row. Connections are dropped after a silence and when their host takes no writes any more:
after a restart or a promotion the next transaction finds the server that does.
"""
