"""POST /ai/sql/assist: generate, explain, optimize and fix SQL; the machine proves, a capable model may propose."""

from typing import Annotated, ClassVar

import msgspec
from msgspec.structs import replace

from aiservice.api.asgi import JSON_TYPE, Scope, Send, send_bytes
from aiservice.api.door import Door, Operation
from aiservice.api.fields import ModelName
from aiservice.api.parse import refuse_nul
from aiservice.api.surfaces import shown_id
from aiservice.cache import CachePolicy
from aiservice.core.errors import EngineError, FieldInvalid, ModelUnknown, RouteUnknown
from aiservice.core.types import Generation, Message
from aiservice.engines.llamacpp import ENGINE_NAME as EMBEDDED
from aiservice.gateway import Consultant, Spent, Visit
from aiservice.keys import Scope as KeyScope
from aiservice.sqlassist import (
    Action,
    Alternative,
    Answer,
    Change,
    Explanation,
    Plan,
    Refusal,
    Task,
    Verification,
    dialect_named,
)

PATH = "/ai/sql/assist"
QUERY_CHARACTERS_MAX = 100_000
DIALECT_DEFAULT = "postgres"
# Candidates are to differ from each other.
TEMPERATURE = 0.8
PROPOSAL_TOKENS_MAX = 400
PROPOSALS = 8
# The model that the service brings along writes valid SQL at best; one in twenty of its statements is right.
TOO_SMALL = "smollm2"
Text = Annotated[str, msgspec.Meta(max_length=QUERY_CHARACTERS_MAX)]


class SqlRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A question (generate) or a statement (the other actions), and what is known about its database.

    `schema` is DDL or a plain list of tables, `database` the name of a registered one. `error` and `question` help
    fix; `context` has definitions and hints about the data. Without `dialect` the database's is meant, else postgres.
    """

    query: Text
    action: Action
    schema: str | None = None
    dialect: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None
    database: Annotated[str, msgspec.Meta(pattern="^[a-z0-9_-]{1,64}$")] | None = None
    error: Text | None = None
    question: Text | None = None
    context: Text | None = None
    conversation_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    model: ModelName | None = None


class SqlUsage(msgspec.Struct):
    """Tokens of the model that was asked; all 0 where the machine answered alone."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class SqlAnswer(msgspec.Struct):
    """What was found, and how it was proven. `sql` is null where `refused` says why."""

    action: Action
    dialect: str
    sql: str | None
    confidence: float
    verified: bool
    verified_by: tuple[Verification, ...]
    explanation: Explanation
    changes: tuple[Change, ...]
    alternatives: tuple[Alternative, ...]
    warnings: tuple[str, ...]
    plan: Plan | None
    indexes: tuple[str, ...]
    refused: Refusal | None
    model: str | None
    usage: SqlUsage
    response_time_ms: int


_encoder = msgspec.json.Encoder()


class SqlDoor(Door[SqlRequest, Task]):
    """Hands the task to the machine; for a question a model proposes statements first, where one that can is there."""

    path = PATH
    key_scope: ClassVar[KeyScope] = "sql"
    decoder = msgspec.json.Decoder(SqlRequest)
    operation = Operation(
        tag="sql",
        summary="SQL assist",
        description=(
            "Generates, explains, optimizes or fixes SQL. Nothing is run but by the sandbox, read-only. "
            "`sql: null` with `refused` is an honest answer."
        ),
        answer=SqlAnswer,
    )

    async def prepared(self, request: SqlRequest, visit: Visit) -> Task:
        if self.rooms.settings.sql.sandboxes == 0:
            raise RouteUnknown("SQL assist is switched off here (SQL_SANDBOXES=0).")
        if not request.query.strip():
            raise FieldInvalid("query is empty; it takes a question (generate) or a statement.", param="query")
        for name in ("query", "schema", "error", "question", "context"):
            refuse_nul(getattr(request, name) or "", name)
        database = None
        if request.database is not None:
            database = await self.rooms.databases.target(visit.caller.tenant_id, request.database)
        asked = request.dialect or (DIALECT_DEFAULT if database is None else database.dialect)
        return Task(
            action=request.action,
            query=request.query,
            dialect=dialect_named(asked),
            schema=request.schema,
            database=database,
            error=request.error,
            question=request.question,
            context=request.context,
            deadline_s=self.rooms.settings.sql.deadline_s,
        )

    async def serve(
        self, scope: Scope, send: Send, visit: Visit, *, request: SqlRequest, work: Task, policy: CachePolicy
    ) -> None:
        asking = self._asking(request, visit)
        (answer, spent), decision = await self.rooms.corridor.perform(
            visit,
            lambda consultant: self._worked(work, consultant, asking),
            tokens_estimate=0 if asking is None else asking.completion_tokens_max,
        )
        body = _encoder.encode(self._shown(answer, spent, visit))
        headers = [
            JSON_TYPE,
            *self.surface.limit_headers(self.rooms.limits, decision),
            *self.surface.answer_headers(shown_id(scope)),
        ]
        await send_bytes(send, 200, body, headers=headers)

    def _asking(self, request: SqlRequest, visit: Visit) -> Generation | None:
        """How a model is asked for statements; None where there is none that can write them, or none is needed."""
        is_wanted = request.action == "generate" or (request.action == "explain" and request.model is not None)
        if not is_wanted:
            return None
        try:
            model = self.rooms.registry.resolve(request.model or "").model
        except ModelUnknown:
            if request.model is not None:
                raise
            return None
        if model.engine == EMBEDDED and self.rooms.settings.engines.embedded_model == TOO_SMALL:
            return None
        if request.model is None and not visit.caller.may_use(model.name, model.id):
            return None
        tokens_max = min(PROPOSAL_TOKENS_MAX, self.rooms.settings.limits.max_tokens_of(visit.caller.tier))
        return Generation(request.model or model.id, (), TEMPERATURE, tokens_max, n=PROPOSALS)

    async def _worked(self, task: Task, consultant: Consultant, asking: Generation | None) -> tuple[Answer, Spent]:
        """The machine's answer, which weighs what a model proposed; a model that fails is no reason for none."""
        machine = self.rooms.sql
        warnings: tuple[str, ...] = ()
        brief = None if asking is None else await machine.brief(task)
        if asking is not None and brief is not None:
            messages = (Message("system", brief.system), Message("user", brief.user))
            try:
                completion = await consultant.ask(replace(asking, messages=messages, n=brief.count))
            except EngineError as error:
                warnings = (f"The model {asking.model} proposed nothing: {error.public}",)
            else:
                task = replace(task, proposals=tuple(choice.text for choice in completion.choices))
        answer = await machine.assist(task)
        return replace(answer, warnings=(*answer.warnings, *warnings)), consultant.spent

    def _shown(self, answer: Answer, spent: Spent, visit: Visit) -> SqlAnswer:
        return SqlAnswer(
            action=answer.action,
            dialect=answer.dialect,
            sql=answer.sql,
            confidence=answer.confidence,
            verified=answer.is_verified,
            verified_by=answer.verified_by,
            explanation=answer.explanation,
            changes=answer.changes,
            alternatives=answer.alternatives,
            warnings=answer.warnings,
            plan=answer.plan,
            indexes=answer.indexes,
            refused=answer.refused,
            model=spent.model,
            usage=SqlUsage(spent.tokens.prompt, spent.tokens.completion, spent.tokens.total),
            response_time_ms=round((self.rooms.clock.monotonic_s() - visit.started_s) * 1000),
        )
