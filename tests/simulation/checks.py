"""What must be true of a seed, whatever happened in it. Each check yields what is wrong, in words."""

import itertools
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from aiservice.core.clock import ManualClock
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.model import Bucket, Cost, Take
from aiservice.stores.databases import LIMITS_FILE
from aiservice.usage import UsageRecord
from aiservice.usage.recovery import WORKER_LOST
from tests.simulation.journal import CacheCall, EngineCall, Exchange, LimiterCall
from tests.simulation.machine import Machine
from tests.simulation.plan import KILLS, Fault
from tests.simulation.worker import DEADLINE, SPOOL_FOLDER

# A lease lapses 4 s after its last sign of life, a follower counts for 2 s, a leader looks each second.
ALONE_S_MAX = 4.2
# Who waits in another worker asks every 20 ms, and is written down half a second later at the most.
HEARD_S = 0.6
DOUBTS_MAX = 6


def wrong(machine: Machine) -> list[str]:
    """Everything that is wrong with what a machine did."""
    return [f"{check.__name__}: {text}" for check in CHECKS for text in check(machine)]


def everybody_gets_an_end(machine: Machine) -> Iterator[str]:
    """No client waits longer than two deadlines, a reader's own pauses and a stalled worker may keep it."""
    stalls_s = sum(event.size for event in machine.plan.events if event.fault is Fault.STALL)
    for exchange in machine.world.journal.exchanges:
        number, words = exchange.question.number, 10
        took_s = exchange.ended_s - exchange.sent_s
        if exchange.end == "open":
            yield f"request {number} has no end"
        elif took_s > 2 * DEADLINE.total_s + words * exchange.question.read_s + stalls_s + 1:
            yield f"request {number} took {took_s:.1f} s"


def nothing_is_left_running(machine: Machine) -> Iterator[str]:
    yield from machine.loop.complaints
    for task in machine.loop.pending()[1:]:
        yield f"{task.get_name()} still runs {task.get_coro()!r}"


def answers_are_right(machine: Machine) -> Iterator[str]:
    """Whole, of an engine's call for the same tenant and the same question."""
    texts = {call.text.replace(" ", ""): call for call in machine.world.journal.engine}
    for exchange in machine.world.journal.exchanges:
        number = exchange.question.number
        call = texts.get(exchange.text.replace(" ", ""))
        if exchange.end != "answered":
            continue
        if call is None:
            yield f"request {number} got {exchange.text!r}, which no engine said"
        elif call.exchange.subject != exchange.subject:
            yield f"request {number} of {exchange.subject} got the answer to {call.exchange.subject}"
        elif exchange.state != "HIT" and call.exchange is not exchange:
            yield f"request {number} got another's answer and was told {exchange.state}"


def errors_have_a_cause(machine: Machine) -> Iterator[str]:
    """A refusal is one that the request, a limit, an engine or a fault of the plan explains."""
    plan, calls = machine.plan, machine.world.journal.engine
    for exchange in machine.world.journal.exchanges:
        if exchange.end != "refused":
            continue
        code = exchange.error
        is_explained = (
            code.startswith("limits.")
            or (code == "cache.not_cached" and exchange.question.cache_control == "only-if-cached")
            or (code.startswith("engines.") and _has_engine_failed(exchange, calls))
            or (code.startswith("store") and plan.has(Fault.LIMITS_DOWN))
            or (code.startswith("usage.") and plan.has(Fault.DISK_FULL))
        )
        if not is_explained:
            yield f"request {exchange.question.number} was refused with {code}"


def one_flight_at_a_time(machine: Machine) -> Iterator[str]:
    """Of equal requests one calls the engine, as long as nothing takes a lease from its holder."""
    if machine.plan.has(*KILLS, Fault.STALL, Fault.CLOCK, Fault.CLEAR, Fault.RESTART):
        return
    by_subject: defaultdict[object, list[EngineCall]] = defaultdict(list)
    for call in machine.world.journal.engine:
        if call.exchange.is_shared:
            by_subject[call.exchange.subject].append(call)
    for calls in by_subject.values():
        for earlier, later in itertools.pairwise(calls):
            if later.started_s < earlier.ended_s:
                yield f"calls {earlier.number} and {later.number} for the same answer ran at once"


def nobody_s_call_is_closed(machine: Machine) -> Iterator[str]:
    """A call that nobody waits for is closed soon; one that somebody waits for is not."""
    if machine.plan.has(Fault.STALL, Fault.CLOCK):
        return
    exchanges = machine.world.journal.exchanges
    for call in machine.world.journal.engine:
        readers = [other for other in exchanges if other is call.exchange or _waits_for(other, call)]
        last_s = max(min(other.ended_s, call.ended_s) for other in readers if other.sent_s <= call.ended_s)
        alone_s = call.ended_s - max(last_s, call.started_s)
        if alone_s > (ALONE_S_MAX if call.exchange.is_shared else 0.5):
            yield f"call {call.number} went on for {alone_s:.2f} s after everybody had left"


def followers_are_not_dropped(machine: Machine) -> Iterator[str]:
    """A call is closed before its end only where its own client, or its worker, has gone."""
    for call in machine.world.journal.engine:
        own = call.exchange
        is_left = own.end == "left" or own.worker in machine.dead
        if call.end == "closed" and not is_left:
            yield f"call {call.number} was closed though its client was there"


def who_waits_elsewhere_is_heard(machine: Machine) -> Iterator[str]:
    """A call that its own client left is not closed while another worker has been asking for its answer."""
    if machine.plan.has(*KILLS, Fault.STALL, Fault.CLOCK, Fault.CLEAR, Fault.RESTART):
        return
    for call in machine.world.journal.engine:
        if call.end != "closed" or not call.exchange.is_shared:
            continue
        for other in machine.world.journal.exchanges:
            until_s = other.ended_s if other.begun_s is None else other.begun_s
            is_waiting = other.sent_s + HEARD_S < call.ended_s < until_s
            if is_waiting and other is not call.exchange and _waits_for(other, call):
                yield f"call {call.number} was closed while request {other.question.number} waited for it"


def entries_are_as_promised(machine: Machine) -> Iterator[str]:
    """Never older than TTL or max-age, never from before a clearing, never another's, always one that was put."""
    put: dict[tuple[str, str], int] = {}
    cleared: dict[str | None, int] = {}
    for position, call in enumerate(machine.world.journal.cache):
        if call.kind == "clear":
            cleared[call.tenant_id] = position
            continue
        assert call.key is not None
        if call.kind == "put":
            put[call.key.digest, call.text] = position
            continue
        put_at = put.get((call.key.digest, call.text))
        if put_at is None:
            yield f"{call.text!r} was found and never put under that key"
        elif put_at < max(cleared.get(None, -1), cleared.get(call.tenant_id, -1)):
            yield f"{call.text!r} was found after it was cleared"
        yield from _too_old(call, machine.plan.ttl_s)


def limiter_agrees_with_its_model(machine: Machine) -> Iterator[str]:
    """Every decision is the one that a single process would have made, one by one in the order of the commits.

    A transaction that its worker died in was committed or was not: one of the two must explain what followed.
    """
    calls = machine.world.journal.limiter
    doubtful = [position for position, call in enumerate(calls) if call.is_doubtful]
    assert len(doubtful) <= DOUBTS_MAX
    reasons = []
    for choice in itertools.product((True, False), repeat=len(doubtful)):
        left_out = {position for position, is_counted in zip(doubtful, choice, strict=True) if not is_counted}
        reason = _disagreement(calls, left_out)
        if reason is None:
            return
        reasons.append(reason)
    yield reasons[0]


def no_bucket_admits_too_much(machine: Machine) -> Iterator[str]:
    """At most burst + rate x T in every interval T, while the clock does not jump."""
    if machine.plan.has(Fault.CLOCK):
        return
    spent: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    buckets: dict[str, Bucket] = {}
    for call in machine.world.journal.limiter:
        for take, amount in _requests_taken(call):
            bucket = take.costs[0].bucket
            buckets[bucket.key] = bucket
            spent[bucket.key].append((call.at_us, amount))
    for key, amounts in spent.items():
        bucket = buckets[key]
        worst = _worst_interval(amounts, bucket.rate, bucket.period_s)
        if worst > bucket.burst * bucket.period_s * 1_000_000:
            yield f"{bucket.id} admitted more than {bucket.burst} + {bucket.rate} per {bucket.period_s} s"


def only_what_was_taken_is_given_back(machine: Machine) -> Iterator[str]:
    """A refund or settlement closes a take that was let in."""
    taken: set[str] = set()
    for call in machine.world.journal.limiter:
        for take, decision in zip(call.takes, call.decisions or [None] * len(call.takes), strict=True):
            if decision is None or decision.is_allowed:
                taken.add(take.request_id)
        if call.closed is not None and call.closed.request_id not in taken:
            yield f"request {call.closed.request_id} was given back what it had not taken"


def takes_come_to_what_was_used(machine: Machine) -> Iterator[str]:
    """An answer takes a request and its engine's tokens, a cached one no tokens, a failure before it nothing."""
    if machine.plan.has(Fault.LIMITS_DOWN):
        return
    takes, closings = _takes_and_closings(machine.world.journal.limiter)
    sent = {call.exchange.id: call.sent for call in machine.world.journal.engine}
    for exchange in machine.world.journal.exchanges:
        take = takes.get(exchange.id)
        if take is None or exchange.worker in machine.dead:
            continue
        if exchange.end == "answered":
            assert exchange.tokens is not None
            used = 0 if exchange.state == "HIT" else exchange.tokens.total
            expected = [cost.amount - used if _is_of_tokens(cost) else 0 for cost in take.costs]
        elif exchange.error.startswith("engines.") and not sent.get(exchange.id):
            expected = [cost.amount for cost in take.costs]
        else:
            continue
        given_back = closings.get(exchange.id, (0,) * len(take.costs))
        if given_back != tuple(expected):
            yield f"request {exchange.question.number} got {given_back} back, not {expected}"


def slots_are_given_back(machine: Machine) -> Iterator[str]:
    """Only a dead worker's requests may still hold a slot, and those that could not reach the limiter."""
    if machine.plan.has(Fault.LIMITS_DOWN):
        return
    lost = {exchange.id for exchange in machine.world.journal.exchanges if exchange.worker in machine.dead}
    with sqlite3.connect(machine.folder / LIMITS_FILE) as connection:
        held = [str(row[0]) for row in connection.execute("select request_id from leases")]
    connection.close()
    for request_id in held:
        if request_id not in lost:
            yield f"request {request_id} holds a slot for ever"


def ledger_is_exact(machine: Machine) -> Iterator[str]:
    """One row for each request that arrived, but for those whose worker died before it told anybody of them.

    A full disk takes no record of a request that is refused for that reason, or left before an engine saw it.
    """
    rows: defaultdict[str, list[UsageRecord]] = defaultdict(list)
    for row in machine.stores.usage.rows:
        rows[row.id].append(row)
    seen = {call.exchange.id for call in machine.world.journal.engine}
    for exchange in machine.world.journal.exchanges:
        own = rows.pop(exchange.id, [])
        is_lost = exchange.worker in machine.dead or machine.plan.has(Fault.DISK_FULL)
        is_sure = not is_lost or exchange.id in seen or exchange.end == "answered"
        least = int(is_sure and exchange.created_at_us is not None)
        if not least <= len(own) <= 1:
            yield f"request {exchange.question.number} ({exchange.end}) has {len(own)} rows"
        for row in own:
            yield from _wrong_row(exchange, row, machine)
    for request_id in rows:
        yield f"a row without a request: {request_id}"


def spool_is_whole(machine: Machine) -> Iterator[str]:
    """Everything is shipped, no file was found damaged, and no row was refused."""
    for path in (machine.folder / SPOOL_FOLDER).iterdir():
        yield f"left in the spool: {sorted(file.name for file in path.iterdir())} of {path.name}"
    if machine.stores.usage.dead_letters:
        yield f"dead letters: {len(machine.stores.usage.dead_letters)}"


def replica_has_every_row(machine: Machine) -> Iterator[str]:
    """No spool file went before its rows were there, so that the primary could go now."""
    store = machine.stores.usage
    if machine.plan.has_replica and len(store.replicated) != len(store.rows):
        yield f"the replica has {len(store.replicated)} of {len(store.rows)} rows"


CHECKS: tuple[Callable[[Machine], Iterator[str]], ...] = (
    everybody_gets_an_end,
    nothing_is_left_running,
    answers_are_right,
    errors_have_a_cause,
    one_flight_at_a_time,
    nobody_s_call_is_closed,
    followers_are_not_dropped,
    who_waits_elsewhere_is_heard,
    entries_are_as_promised,
    limiter_agrees_with_its_model,
    no_bucket_admits_too_much,
    only_what_was_taken_is_given_back,
    takes_come_to_what_was_used,
    slots_are_given_back,
    ledger_is_exact,
    spool_is_whole,
    replica_has_every_row,
)


def _waits_for(exchange: Exchange, call: EngineCall) -> bool:
    return exchange.is_shared and call.exchange.is_shared and exchange.subject == call.exchange.subject


def _has_engine_failed(exchange: Exchange, calls: list[EngineCall]) -> bool:
    """Whether a call that it made or may have waited for failed, or it waited for as long as anybody may."""
    return exchange.ended_s - exchange.sent_s >= DEADLINE.total_s or any(
        call.end == "failed" and call.ended_s >= exchange.sent_s and call.started_s <= exchange.ended_s
        for call in calls
        if call.exchange is exchange or _waits_for(exchange, call)
    )


def _too_old(call: CacheCall, ttl_s: int) -> Iterator[str]:
    age_us = call.at_us - call.created_at_us
    if age_us > ttl_s * 1_100_000:
        yield f"{call.text!r} was found {age_us} us old"
    if call.max_age_s is not None and age_us > call.max_age_s * 1_000_000:
        yield f"{call.text!r} was found {age_us} us old for max-age {call.max_age_s}"


def _disagreement(calls: list[LimiterCall], left_out: set[int]) -> str | None:
    clock = ManualClock()
    model = MemoryLimiter(clock)
    for position, call in enumerate(calls):
        clock.set_us(call.at_us)
        if position in left_out:
            continue
        decisions = tuple(_result(model.take(take)) for take in call.takes)
        if decisions != call.decisions and not call.is_doubtful:
            return f"transaction {position}: {call.decisions}, where the model says {decisions}"
        if call.closed is not None:
            true = [cost.amount - back for cost, back in zip(call.closed.costs, call.given_back, strict=True)]
            _result(model.settle(call.closed, true))
        if call.renewed is not None:
            _result(model.renew(call.renewed))
    return None


def _requests_taken(call: LimiterCall) -> Iterator[tuple[Take, int]]:
    """What a transaction took of buckets of requests, the first cost of each take; below zero: gave back."""
    for take, decision in zip(call.takes, call.decisions, strict=False):
        if decision.is_allowed:
            yield take, take.costs[0].amount
    if call.closed is not None:
        yield call.closed, -call.given_back[0]


def _takes_and_closings(calls: list[LimiterCall]) -> tuple[dict[str, Take], dict[str, tuple[int, ...]]]:
    """The takes that were let in, and what their first closing gave back, by request."""
    takes: dict[str, Take] = {}
    closings: dict[str, tuple[int, ...]] = {}
    for call in calls:
        for take, decision in zip(call.takes, call.decisions, strict=False):
            if decision.is_allowed:
                takes[take.request_id] = take
        if call.closed is not None:
            closings.setdefault(call.closed.request_id, call.given_back)
    return takes, closings


def _is_of_tokens(cost: Cost) -> bool:
    return cost.bucket.id.startswith("tokens:")


def _result(step):
    """The result of a coroutine that waits for nothing."""
    try:
        step.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the model waited for something")


def _worst_interval(amounts: list[tuple[int, int]], rate: int, period_s: int) -> int:
    """The largest, over all intervals, of what was taken less what flowed in, in parts of a token."""
    worst, level, last_us = 0, 0, amounts[0][0]
    for at_us, amount in amounts:
        level = max(0, level - (at_us - last_us) * rate) + amount * period_s * 1_000_000
        worst, last_us = max(worst, level), at_us
    return worst


def _wrong_row(exchange: Exchange, row: UsageRecord, machine: Machine) -> Iterator[str]:
    number = exchange.question.number
    tokens = (row.prompt_tokens, row.completion_tokens)
    if row.created_at_us != exchange.created_at_us or row.tenant_id != exchange.question.tenant_id:
        yield f"the row of request {number} is of another time or tenant"
    if row.error_message == WORKER_LOST:
        sent = max((call.sent for call in machine.world.journal.engine if call.exchange is exchange), default=0)
        if exchange.worker not in machine.dead or exchange.end == "answered" or row.completion_tokens > sent:
            yield f"request {number} ({exchange.end}) of {exchange.worker} is recorded as lost with {tokens}"
    elif exchange.end == "answered":
        assert exchange.tokens is not None
        own = (exchange.tokens.prompt, exchange.tokens.completion)
        expected = (200, (0, 0), sum(own), True) if exchange.state == "HIT" else (200, own, 0, False)
        if (row.status_code, tokens, row.tokens_saved, row.response_cached) != expected:
            yield f"request {number} was answered with {own} tokens, {exchange.state}, and recorded as {row}"
    elif exchange.end == "refused" and row.error_message != exchange.error:
        yield f"request {number} was refused with {exchange.error} and recorded as {row}"


def summary(machine: Machine) -> dict[str, int]:
    """How a seed ended for its clients."""
    return dict(Counter(exchange.end for exchange in machine.world.journal.exchanges))
