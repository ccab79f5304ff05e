"""Plumbing only: the tables, the database pools, the migrations and the loop that polls. No business words, no policy.

The embedded default keeps three SQLite files in DATA_DIR: `main.db` (keys, rules of limits, answers to idempotency
keys, ledger, audit; migrated), `limits.db` and `cache.db` (each created and rebuilt by the room that owns it), so that
a batch insert never holds up a take.
A database that cannot be used raises `StoreUnavailable`; it never looks like a missing row.
"""
