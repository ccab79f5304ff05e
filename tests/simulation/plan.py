"""What happens in a seed: who asks what and when, and what goes wrong. Drawn before anything runs."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter

from aiservice.core.settings import LimitSettings
from aiservice.core.types import Generation, Message
from aiservice.keys import Caller
from aiservice.keys.model import NEVER_US
from aiservice.limits.model import Rule
from tests.simulation.virtual_loop import Order

MODEL = "model-1"
TENANTS = ("tenant-1", "tenant-2", "tenant-3")
PROMPTS = ("What is a cow?", "What is a dog?", "What is an owl?")
CACHE_CONTROL = (*[None] * 14, "no-store", "no-cache", "no-cache", "only-if-cached", "max-age=1", "max-age=3")
LASTS_S = 5.0


class Fault(Enum):
    """What can go wrong; `Event` says how the fields are meant."""

    KILL = "a worker dies between two steps"
    KILL_AT_LINE = "a worker dies at one of the next lines it runs"
    KILL_AT_WRITE = "a worker dies in the middle of a write to its spool"
    STALL = "a worker stands still"
    RESTART = "a worker is stopped in good order"
    CLOCK = "the wall clock jumps"
    CLEAR = "the operator clears the cache"
    STORE_DOWN = "the ledger's database does not answer"
    LIMITS_DOWN = "the limiter's file cannot be used"
    DISK_FULL = "the spool's disk takes nothing more"
    FAIL_OVER = "the ledger's database is gone, and its replica takes over with what it has"
    REPLICA_DOWN = "the replica does not answer"


# Where a worker may die, and how many lines at most it runs there before: small places are seldom hit by chance.
DEADLY = (
    ("", 60),
    ("", 1_500),
    ("usage/", 300),
    ("limits/sqlite.py", 100),
    ("cache/sqlite.py", 200),
    ("cache/stamps.py", 12),
    ("gateway/", 300),
)
KILLS = (Fault.KILL, Fault.KILL_AT_LINE, Fault.KILL_AT_WRITE)
# Only where there is a replica, which is drawn apart.
OF_REPLICA = (Fault.FAIL_OVER, Fault.REPLICA_DOWN)
ORDINARY = tuple(fault for fault in Fault if fault not in OF_REPLICA)


@dataclass(frozen=True, slots=True)
class Event:
    """A fault at a time; `size` is its seconds, lines or bytes, `pick` chooses the worker or the scope.

    `where` is the part of the package whose lines count.
    """

    at_s: float
    fault: Fault
    size: float
    pick: int
    where: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What a client sends, how slowly it reads, and after how many seconds it leaves if it has no answer by then."""

    number: int
    at_s: float
    caller: Caller
    generation: Generation
    cache_control: str | None
    leaves_after_s: float | None
    read_s: float

    @property
    def tenant_id(self) -> str:
        return self.caller.tenant_id


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole seed."""

    seed: int
    order: Order
    worker_count: int
    ttl_s: int
    limits: LimitSettings
    rules: tuple[Rule, ...]
    is_durable: bool
    has_replica: bool
    questions: tuple[Question, ...]
    events: tuple[Event, ...]

    def has(self, *faults: Fault) -> bool:
        return any(event.fault in faults for event in self.events)


def drawn(seed: int) -> Plan:
    """The plan of a seed."""
    source, apart = random.Random(seed), random.Random(seed ^ 0x5EC04D)
    has_replica = apart.random() < 0.4
    callers = [_caller(number, source) for number in range(4)]
    count = source.randrange(15, 45)
    return Plan(
        seed=seed,
        order=source.choice((Order.ANY, Order.ANY, Order.ROUND, Order.OLDEST)),
        worker_count=source.randrange(2, 5),
        ttl_s=source.choice((1, 3, 3_600)),
        limits=LimitSettings(
            default_rate_limit=source.choice((8, 40, 100)),
            default_rate_window_s=source.choice((5, 60, 3_600)),
            is_strict=source.random() < 0.2,
        ),
        rules=tuple(_rules(source)),
        is_durable=source.random() < 0.2,
        has_replica=has_replica,
        questions=tuple(_question(number, source, source.choice(callers)) for number in range(count)),
        events=tuple(sorted([*_events(source), *_replica_events(apart, has_replica)], key=attrgetter("at_s"))),
    )


def _caller(number: int, source: random.Random) -> Caller:
    return Caller(
        key_id=f"0197-key-{number}",
        logical_id=f"01977a2b-0000-7000-8000-{number:012d}",
        tenant_id=TENANTS[number % len(TENANTS)],
        user_id=source.choice((None, "user-1")),
        tier="free",
        scopes=frozenset({"generate"}),
        models=(),
        quota_requests_per_hour=None,
        tokens_per_hour=source.choice((None, 800, 50_000)),
        concurrency=source.choice((None, None, 2, 8)),
        expires_at_us=NEVER_US,
    )


def _rules(source: random.Random) -> Iterator[Rule]:
    """What the operator allows a tenant, or a user of it, beside what its keys may do."""
    for tenant_id in TENANTS[:2]:
        if source.random() < 0.3:
            user_id = source.choice((None, "user-1"))
            requests, tokens = source.choice((None, 30)), source.choice((None, 5_000))
            yield Rule(tenant_id, user_id, requests, tokens, concurrency=source.choice((None, 4)))


def _question(number: int, source: random.Random, caller: Caller) -> Question:
    # Many come at once: that is where flights and takes meet.
    at_s = source.choice((0.1, 0.1, 1.0, 2.5)) if source.random() < 0.6 else source.uniform(0, LASTS_S)
    return Question(
        number=number,
        at_s=at_s + source.choice((0.0, source.uniform(0, 0.05))),
        caller=caller,
        generation=Generation(
            model=MODEL,
            messages=(Message("user", source.choice(PROMPTS)),),
            temperature=source.choice((0.0, 0.7)),
            max_tokens=100,
            stream=source.random() < 0.5,
        ),
        cache_control=source.choice(CACHE_CONTROL),
        leaves_after_s=source.choice((0.0, source.uniform(0, 3))) if source.random() < 0.2 else None,
        read_s=source.choice((0.0, 0.0, 0.0, 0.1, 1.0)),
    )


def _replica_events(source: random.Random, has_replica: bool) -> list[Event]:
    """The replica takes over once or twice, or is away for a while, in most of the seeds that have one."""
    faults = source.choices(OF_REPLICA, k=source.randrange(4)) if has_replica else []
    return [Event(source.uniform(0, LASTS_S), fault, source.choice((0.1, 1.0, 4.0)), 0) for fault in faults]


def _events(source: random.Random) -> list[Event]:
    """None in a fifth of the seeds, so that what only holds in calm is looked at too."""
    faults: list[Fault] = []
    if source.random() < 0.8:
        faults = source.choices(ORDINARY, k=source.randrange(1, 5))
    if source.random() < 0.4:
        faults += source.choices(KILLS, k=source.randrange(1, 3))
    if Fault.DISK_FULL in faults:
        # A record that neither disk nor reserve took lives in memory alone, and dies with its worker: that is said.
        faults = [fault for fault in faults if fault not in KILLS]
    return [_event(fault, source) for fault in faults]


def _event(fault: Fault, source: random.Random) -> Event:
    at_s = source.choice((source.uniform(0, LASTS_S), 0.1 + source.uniform(0, 0.4)))
    pick = source.randrange(1_000)
    if fault is Fault.KILL_AT_LINE:
        where, lines_max = source.choice(DEADLY)
        return Event(at_s, fault, source.randrange(1, lines_max), pick, where)
    size = {
        Fault.KILL_AT_WRITE: source.randrange(0, 200),
        Fault.STALL: source.choice((0.2, 1.5, 6.0)),
        Fault.CLOCK: source.choice((-3_600.0, -2.0, -0.1, 0.5, 5.0, 40.0, 86_400.0)),
        Fault.STORE_DOWN: source.choice((0.3, 3.0)),
        Fault.LIMITS_DOWN: source.choice((0.05, 0.5)),
        Fault.DISK_FULL: source.choice((0.3, 2.0)),
    }.get(fault, 0.0)
    return Event(at_s, fault, size, pick)
