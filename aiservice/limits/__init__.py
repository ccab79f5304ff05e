"""Rate limits: requests, tokens and requests at once, per key, and per user and tenant where an operator set rules.

Promises: in any time T no more than burst + rate x T is admitted, by all workers together and to the token; all
costs of a request are taken in one step or none; a refund or settlement counts once; a client that waits as long
as Retry-After says is let in if it is alone. A worker killed in mid-request costs its caller at most what it had
taken, and its slots are free after 30 s.

Flow: `Limits.take_for` makes the take, `Limits.take` asks the limiter and raises `TakeRefused` (429), and at the end
`Limits.refund` or `Limits.settle` closes it; `Limits.headers` words the answer's headers. A rule that `Limits.set_rule`
replaces holds in all workers within two seconds.
When the limiter's file cannot be used every call raises `StoreUnavailable` (503), and one that cannot be read is made
anew, for at most one more burst. Without Redis (`outage.py`) each process gives out its part of every limit and pays it
back: one more burst in all for each outage, two if it comes back empty; or, by setting, 503, or requests uncounted.
When the rules' store is away, known subjects go on under the rules last read, and others are refused (503).
"""

from aiservice.limits.model import (
    RENEW_EVERY_S,
    Allowance,
    Bucket,
    Cost,
    Decision,
    Kind,
    Owner,
    Rule,
    Slots,
    Standing,
    Subject,
    Take,
)
from aiservice.limits.port import Limiter, RuleStore
from aiservice.limits.service import Limits, TakeRefused

__all__ = [
    "RENEW_EVERY_S",
    "Allowance",
    "Bucket",
    "Cost",
    "Decision",
    "Kind",
    "Limiter",
    "Limits",
    "Owner",
    "Rule",
    "RuleStore",
    "Slots",
    "Standing",
    "Subject",
    "Take",
    "TakeRefused",
]
