"""What an operator sees and sets, over the rooms below.

`Stats` sums up the ledger, the cache, the keys and the engines; when the database is down it raises `StoreUnavailable`
like the rooms it asks. `Health` says how the service and the servers of its stores stand, for load balancers and for
metrics, and waits for none of them: databases are asked each second in the background, the rest within 0.1 s. It keeps
a worker in traffic as long as there is anything that it can answer.
Flow: `api/admin.py` and `api/ops.py` come in, the rooms' services answer, plain values go back.
"""

from aiservice.admin.health import Finding, Findings, Health, Stores
from aiservice.admin.stats import Stats, Summary

__all__ = ["Finding", "Findings", "Health", "Stats", "Stores", "Summary"]
