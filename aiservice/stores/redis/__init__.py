"""Redis behind one client: single, Cluster or Sentinel, by its address.

`Redis` holds one connection to each server. The commands of one turn of the event loop leave in one write, replies are
matched in order, and one timer for each connection keeps the deadline (50 ms). After three misses in a row, or a lost
connection, a server counts as away: calls fail at once, it is tried every 100 to 250 ms, and it is back with its first
PONG. A cluster's topology is read again when a node is lost or a key has moved, a sentinel's master when it is lost.
Promises: every call ends within its deadline, with its reply or with `StoreUnavailable`; no call is sent twice, but
where Redis has refused it (MOVED, ASK, NOSCRIPT); nothing is read or written without a deadline.
"""

from aiservice.stores.redis.address import RedisAddress, address_of, redis_addresses
from aiservice.stores.redis.client import Redis
from aiservice.stores.redis.facts import ServerFacts, check
from aiservice.stores.redis.script import Script
from aiservice.stores.redis.subscription import Subscription
from aiservice.stores.redis.wire import Reply

__all__ = [
    "Redis",
    "RedisAddress",
    "Reply",
    "Script",
    "ServerFacts",
    "Subscription",
    "address_of",
    "check",
    "redis_addresses",
]
