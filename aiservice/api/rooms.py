"""What the doors may use, handed over whole by `app.py`."""

from dataclasses import dataclass, field

from aiservice.admin import Health, Stats
from aiservice.api.auth import Auth
from aiservice.cache import ResponseCache
from aiservice.core.clock import Clock
from aiservice.core.settings import Settings
from aiservice.engines import Registry
from aiservice.gateway import Corridor, Idempotency
from aiservice.gateway.responses import Responses
from aiservice.keys import Keys
from aiservice.limits import Limits
from aiservice.observe.metrics import Metrics
from aiservice.sqlassist import Machine
from aiservice.sqlassist.databases import Databases
from aiservice.usage import Ledger


@dataclass(slots=True)
class Rooms:
    """The services of one worker.

    The doors are built once, before the workers are forked; what holds files, sockets or a loop is filled in
    by each worker when it starts, before its first request.
    """

    settings: Settings
    clock: Clock
    metrics: Metrics
    auth: Auth = field(init=False)
    keys: Keys = field(init=False)
    limits: Limits = field(init=False)
    cache: ResponseCache = field(init=False)
    registry: Registry = field(init=False)
    ledger: Ledger = field(init=False)
    corridor: Corridor = field(init=False)
    idempotency: Idempotency = field(init=False)
    responses: Responses = field(init=False)
    databases: Databases = field(init=False)
    sql: Machine = field(init=False)
    stats: Stats = field(init=False)
    health: Health = field(init=False)
    started_s: float = field(init=False)
