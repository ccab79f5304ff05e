"""The operator's rules as one worker knows them: read when a subject first comes, dropped when they change."""

import asyncio
import logging
from collections.abc import Collection, Sequence

from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import LimitSettings
from aiservice.limits.model import Rule, Subject
from aiservice.limits.plan import Plan, plan_of
from aiservice.limits.port import RuleStore
from aiservice.stores.bell import RULES_CHANNEL, Bell, SilentBell
from aiservice.stores.polling import repeat

POLL_S = 1.0
# The longest wait of a request for the rules of a subject that is not known.
ANSWER_S_MAX = 2.0
# So far before the newest change seen may one lie that is seen later: clocks differ, and a commit takes time.
REREAD_US = 10_000_000
PLANS_MAX = 50_000

logger = logging.getLogger(__name__)

_Who = tuple[str, str | None]


class Rules:
    """Plans of the subjects in use, each made once for as long as its facts and rules stay the same.

    `watch` must run beside it, else a change that another process makes is never seen. Its poll each second is the
    promise; a ring of the bell only brings the next one forward.
    """

    def __init__(
        self,
        settings: LimitSettings,
        store: RuleStore,
        *,
        bell: Bell | None = None,
        plans_max: int = PLANS_MAX,
        answer_s_max: float = ANSWER_S_MAX,
    ) -> None:
        """`plans_max` bounds the plans that are remembered; a forgotten one is made anew when its subject comes.

        `answer_s_max` is how long the first request of a subject waits for its rules.
        """
        self._settings = settings
        self._store = store
        self._bell = bell or SilentBell()
        self._heard = asyncio.Event()
        self._plans_max = plans_max
        self._answer_s_max = answer_s_max
        self._plans: dict[str, Plan] = {}
        self._flights: dict[_Who, asyncio.Task[tuple[Sequence[Rule], int]]] = {}
        # Grows with every change: what was read from the store before that must not be kept.
        self._version = 0
        self._newest_us: int | None = None
        self._seen: frozenset[Rule] = frozenset()
        self._is_away = False

    def known(self, subject: Subject) -> Plan | None:
        """The subject's plan where it is remembered."""
        plan = self._plans.get(subject.logical_id)
        return plan if plan is not None and plan.is_for(subject) else None

    async def plan(self, subject: Subject) -> Plan:
        """The subject's plan; raises `StoreUnavailable` when its rules are not known and cannot be read in time."""
        return self.known(subject) or await self._new_plan(subject)

    async def put(self, rule: Rule) -> Rule:
        """Replaces the rule of a tenant or user. This worker knows it at once, the others within two seconds."""
        stored = await self._store.put(rule)
        self._forget([stored])
        self._bell.ring(RULES_CHANNEL)
        return stored

    async def page(self, *, tenant_id: str | None, after: tuple[str, str | None] | None, limit: int) -> Sequence[Rule]:
        """Rules in the order of tenant and user, those after the given one."""
        return await self._store.page(tenant_id=tenant_id, after=after, limit=limit)

    async def watch(self, poll_s: float = POLL_S) -> None:
        """Polls every second until it is cancelled. While the store is away, what is known goes on."""
        self._bell.listen(RULES_CHANNEL, self._heard.set)
        await repeat(self._round, every_s=poll_s, wake=self._heard)

    async def poll(self) -> None:
        """Forgets the plans of every subject whose rule was changed; raises `StoreUnavailable`."""
        is_first = self._newest_us is None
        newest_us = await self._store.newest_us() if self._newest_us is None else self._newest_us
        changed = frozenset(await self._store.changed_after(newest_us - REREAD_US))
        if is_first:
            # What was read before the watch began may have been changed unseen.
            self._version += 1
            self._plans.clear()
        else:
            self._forget(changed - self._seen)
        self._seen = changed
        self._newest_us = max([newest_us, *(rule.changed_at_us for rule in changed)])

    async def _round(self) -> None:
        try:
            await self.poll()
            self._is_away = False
        except StoreUnavailable as error:
            if not self._is_away:
                logger.warning("changed limits cannot be read, those that are known go on: %s", error)
            self._is_away = True
        except Exception:  # a loop that ended would keep limits that an operator has changed
            logger.exception("the watch over limits failed and goes on")

    def _forget(self, changed: Collection[Rule]) -> None:
        if not changed:
            return
        self._version += 1
        users = {(rule.tenant_id, rule.user_id) for rule in changed if rule.user_id is not None}
        tenants = {rule.tenant_id for rule in changed if rule.user_id is None}
        self._plans = {
            name: plan
            for name, plan in self._plans.items()
            if plan.subject.tenant_id not in tenants and (plan.subject.tenant_id, plan.subject.user_id) not in users
        }

    async def _new_plan(self, subject: Subject) -> Plan:
        who = subject.tenant_id, subject.user_id
        rules, version = await self._read(who)
        if version != self._version:
            # A rule was changed while these were under way: they may be from before that.
            rules, version = await self._read(who)
        plan = plan_of(self._settings, subject, rules)
        if version == self._version:
            self._keep(plan)
        return plan

    def _keep(self, plan: Plan) -> None:
        name = plan.subject.logical_id
        if name not in self._plans and len(self._plans) >= self._plans_max:
            del self._plans[next(iter(self._plans))]
        self._plans[name] = plan

    async def _read(self, who: _Who) -> tuple[Sequence[Rule], int]:
        """The rules and the version from before they were asked for; one question at a time for each subject."""
        flight = self._flights.get(who)
        if flight is None:
            flight = self._flights[who] = asyncio.create_task(self._find(who))
            flight.add_done_callback(lambda done: self._landed(who, done))
        try:
            async with asyncio.timeout(self._answer_s_max):
                # A client that leaves must not take the answer from those who wait with it.
                return await asyncio.shield(flight)
        except TimeoutError as error:
            raise StoreUnavailable(detail="the rules of a subject could not be read", retry_after_s=1) from error

    async def _find(self, who: _Who) -> tuple[Sequence[Rule], int]:
        version = self._version
        return await self._store.find(*who), version

    def _landed(self, who: _Who, flight: asyncio.Task[tuple[Sequence[Rule], int]]) -> None:
        del self._flights[who]
        if not flight.cancelled():
            # Marks a failure as seen also when everyone who waited for it has left.
            flight.exception()
