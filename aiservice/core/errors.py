"""The error tree. Rooms raise these; only `api/errors.py` knows how each is rendered.

AIServiceError                      code                      status
├── InvalidRequest                  request.malformed         400
│   ├── FieldInvalid                request.field_invalid     422
│   ├── BodyTooLarge                request.body_too_large    413
│   ├── MediaTypeWrong              request.media_type        415
│   ├── MethodWrong                 request.method            405
│   ├── KeysConflict                request.keys_conflict     400
│   ├── IdempotencyMismatch         request.idempotency_mismatch 422
│   ├── StatementRefused            sql.statement_refused     422
│   └── SchemaInvalid               sql.schema_invalid        422
├── IdempotencyBusy                 request.idempotency_busy  409
├── RouteUnknown                    request.route_unknown     404
├── KeyRefused                      keys.refused              401
├── NotAllowed                      keys.not_allowed          403
├── KeyUnknown                      keys.unknown              404
├── TooManyFailures                 keys.too_many_failures    429
├── LimitExceeded                   limits.exceeded           429
├── NotCached                       cache.not_cached          504
├── ModelUnknown                    engines.model_unknown     404
├── ModelUnfit                      engines.model_unfit       400
├── ResponseUnknown                 responses.unknown         404
│   └── PreviousResponseUnknown     responses.previous_unknown 400
├── EngineError                     engines.failed            502
│   ├── EngineUnreachable           engines.unreachable       502
│   ├── EngineRefused               engines.refused           400
│   ├── EngineBusy                  engines.busy              503
│   ├── EngineTimeout               engines.timeout           504
│   └── AnswerInvalid               engines.answer_invalid    502
├── DatabaseUnknown                 sql.database_unknown      404
├── DatabaseDown                    sql.database_down         503
├── SqlTimeout                      sql.timeout               504
├── StoreUnavailable                stores.unavailable        503
│   └── SpoolFull                   usage.spool_full          503
├── Overloaded                      server.overloaded         503
├── ShuttingDown                    server.shutting_down      503
├── Unexpected                      server.unexpected         500
└── StartRefused                    start.refused             -
    ├── SettingInvalid              start.setting_invalid     -
    └── PortInUse                   start.port_in_use         -
"""

from collections.abc import Sequence
from typing import ClassVar, Self


class AIServiceError(Exception):
    """The root of everything this service raises on purpose.

    `public` goes to the caller and says what to change; `detail` goes to the log only.
    `param` names the field at fault, `retry_after_s` is set where waiting helps.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    type: ClassVar[str]
    title: ClassVar[str]
    is_retryable: ClassVar[bool] = False

    def __init__(
        self,
        public: str | None = None,
        *,
        detail: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self.public = public or self.title
        self.detail = detail
        self.param = param
        self.retry_after_s = retry_after_s
        super().__init__(self.public if detail is None else f"{self.public} [{detail}]")


class InvalidRequest(AIServiceError):
    """The request cannot be read: not JSON, not UTF-8, nested too deeply, or fields that exclude each other."""

    code = "request.malformed"
    status = 400
    type = "invalid_request_error"
    title = "The request could not be read."


class FieldInvalid(InvalidRequest):
    """A field has the wrong type or is out of its range; `param` names it."""

    code = "request.field_invalid"
    status = 422
    title = "A field of the request is out of its range."


class BodyTooLarge(InvalidRequest):
    """The body is larger than the route takes; said before anything is parsed."""

    code = "request.body_too_large"
    status = 413
    title = "The request body is too large."


class MediaTypeWrong(InvalidRequest):
    """The body is compressed or is not JSON."""

    code = "request.media_type"
    status = 415
    title = "The request body must be uncompressed JSON."


class MethodWrong(InvalidRequest):
    """The route exists but not for this method; `allowed` are those that it takes, where they are known."""

    code = "request.method"
    status = 405
    title = "This route does not take this method."

    allowed: Sequence[str] = ()

    @classmethod
    def on_a_route_of(cls, *methods: str) -> Self:
        """The error of a route that takes these methods."""
        error = cls(f"This route takes {' and '.join(methods)}.")
        error.allowed = methods
        return error


class KeysConflict(InvalidRequest):
    """Two key headers carry different keys."""

    code = "request.keys_conflict"
    title = "Several key headers carry different keys; send one."


class IdempotencyMismatch(InvalidRequest):
    """The Idempotency-Key was sent before with another request; take a new one for each request."""

    code = "request.idempotency_mismatch"
    status = 422
    title = "This Idempotency-Key was sent with another request; take a new one for each request."


class StatementRefused(InvalidRequest):
    """A statement that may not be worked on: it writes, is more than one, is empty, or cannot be read as SQL at all."""

    code = "sql.statement_refused"
    status = 422
    title = "Only one statement that reads may be worked on."


class SchemaInvalid(InvalidRequest):
    """The schema is neither DDL nor a list of tables; the message has line and column of what could not be read."""

    code = "sql.schema_invalid"
    status = 422
    title = "The schema could not be read."


class IdempotencyBusy(AIServiceError):
    """The request with this Idempotency-Key is still running; its answer can be had when it has ended."""

    code = "request.idempotency_busy"
    status = 409
    type = "conflict_error"
    title = "The request with this Idempotency-Key is still running; ask again later."
    is_retryable = True


class RouteUnknown(AIServiceError):
    """No route has this path."""

    code = "request.route_unknown"
    status = 404
    type = "not_found_error"
    title = "There is no such route."


class KeyRefused(AIServiceError):
    """No key, or one that is malformed, unknown, revoked or expired: the same answer for all of them."""

    code = "keys.refused"
    status = 401
    type = "authentication_error"
    title = "The API key is missing or not valid. Send a valid key in the X-API-Key header."


class NotAllowed(AIServiceError):
    """The key is good but may not do this: scope, model, address, tenant, tier or quota."""

    code = "keys.not_allowed"
    status = 403
    type = "permission_error"
    title = "This key may not do this."


class KeyUnknown(AIServiceError):
    """No key with this id belongs to the caller's tenant."""

    code = "keys.unknown"
    status = 404
    type = "not_found_error"
    title = "There is no key with this id."


class TooManyFailures(AIServiceError):
    """Too many bad keys came from this address; wait as long as Retry-After says."""

    code = "keys.too_many_failures"
    status = 429
    type = "rate_limit_error"
    title = "Too many requests with a bad key came from this address."
    is_retryable = True


class LimitExceeded(AIServiceError):
    """A rate limit of the key, its user or its tenant is used up; wait as long as Retry-After says."""

    code = "limits.exceeded"
    status = 429
    type = "rate_limit_error"
    title = "The rate limit is used up."
    is_retryable = True


class NotCached(AIServiceError):
    """The request asked for a cached answer only (only-if-cached) and there is none."""

    code = "cache.not_cached"
    status = 504
    type = "not_found_error"
    title = "There is no cached answer to this request."


class ModelUnknown(AIServiceError):
    """No engine has a model of this name; GET /ai/models lists them."""

    code = "engines.model_unknown"
    status = 404
    type = "not_found_error"
    title = "There is no such model; GET /ai/models lists what there is."


class ModelUnfit(AIServiceError):
    """The model cannot do this: it takes no pictures, makes no vectors, or makes nothing but vectors."""

    code = "engines.model_unfit"
    status = 400
    type = "invalid_request_error"
    title = "The model cannot do this; GET /ai/models tells what each can."


class ResponseUnknown(AIServiceError):
    """The caller's tenant has no stored response of this id: it was not stored, was deleted, or has expired."""

    code = "responses.unknown"
    status = 404
    type = "not_found_error"
    title = "There is no stored response with this id; one is stored only when asked for with store: true."


class PreviousResponseUnknown(ResponseUnknown):
    """The response that a request wants to go on from is not stored; store each with `store: true`, or send it all."""

    code = "responses.previous_unknown"
    status = 400
    type = "invalid_request_error"
    title = "There is no stored response to go on from; one is stored only when asked for with store: true."


class EngineError(AIServiceError):
    """The engine failed: an error answer, a broken stream, or an answer that cannot be read."""

    code = "engines.failed"
    status = 502
    type = "engine_error"
    title = "The engine failed."
    is_retryable = True


class EngineUnreachable(EngineError):
    """The engine refused the connection or closed it before it answered."""

    code = "engines.unreachable"
    title = "The engine cannot be reached."


class EngineRefused(EngineError):
    """The engine did not accept the request, for example because the prompt exceeds its context."""

    code = "engines.refused"
    status = 400
    type = "invalid_request_error"
    title = "The engine did not accept the request."
    is_retryable = False


class EngineBusy(EngineError):
    """The engine has no free slot, or is still loading the model."""

    code = "engines.busy"
    status = 503
    type = "overloaded_error"
    title = "The engine has no free slot now."


class EngineTimeout(EngineError):
    """The engine did not send its first token, its next token or its end in time."""

    code = "engines.timeout"
    status = 504
    title = "The engine did not answer in time."


class AnswerInvalid(EngineError):
    """The engine's answer is not of the JSON schema that the request asked for; it is metered, but not given out."""

    code = "engines.answer_invalid"
    title = "The answer is not of the form that was asked for."


class DatabaseUnknown(AIServiceError):
    """No database of this name is registered for the caller's tenant; `aiservice databases list` names them."""

    code = "sql.database_unknown"
    status = 404
    type = "not_found_error"
    title = "There is no registered database of this name."


class DatabaseDown(AIServiceError):
    """A registered database does not answer; it is not a database of the service itself."""

    code = "sql.database_down"
    status = 503
    type = "server_error"
    title = "The registered database does not answer."
    is_retryable = True


class SqlTimeout(AIServiceError):
    """A statement, or the work on it, ran past its limit and was ended."""

    code = "sql.timeout"
    status = 504
    type = "server_error"
    title = "The statement ran past its time limit and was ended."


class StoreUnavailable(AIServiceError):
    """A database of the service cannot be used now; never said as 401 and never answered unmetered."""

    code = "stores.unavailable"
    status = 503
    type = "server_error"
    title = "A store of the service is not available now."
    is_retryable = True


class SpoolFull(StoreUnavailable):
    """The usage spool cannot grow (disk full), so no new request is taken that could not be metered."""

    code = "usage.spool_full"
    title = "The service cannot record usage now and takes no new requests."


class Overloaded(AIServiceError):
    """The service has more work than it can take; wait as long as Retry-After says."""

    code = "server.overloaded"
    status = 503
    type = "overloaded_error"
    title = "The service is overloaded."
    is_retryable = True


class ShuttingDown(AIServiceError):
    """The service is stopping and takes no new work; another instance or the next start will."""

    code = "server.shutting_down"
    status = 503
    type = "overloaded_error"
    title = "The service is shutting down."
    is_retryable = True


class Unexpected(AIServiceError):
    """A fault of the service itself; the log has the details under the request's id."""

    code = "server.unexpected"
    status = 500
    type = "server_error"
    title = "Something went wrong in the service; the request id finds it in the log."


class StartRefused(AIServiceError):
    """The service does not start; the message says what to change."""

    code = "start.refused"
    status = 500
    type = "server_error"
    title = "The service cannot start."


class SettingInvalid(StartRefused):
    """A setting is not accepted; the message has its name, value and range."""

    code = "start.setting_invalid"
    title = "A setting is not accepted."


class PortInUse(StartRefused):
    """Another program listens on the port."""

    code = "start.port_in_use"
    title = "The port is in use."
