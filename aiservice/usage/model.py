"""The ledger's rows and what is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from aiservice.core.errors import Unexpected

GroupBy = Literal["day", "model", "endpoint", "key"]
# The largest number of a row: far above any true one, and a thousand of them still add up within 64 bits.
NUMBER_MAX = 2**53


class UsageStart(msgspec.Struct, tag=1, array_like=True, frozen=True, gc=False):
    """Written before the engine is called, so that a request that dies with its worker is still a row.

    `id` is the request's UUIDv7; `prompt_tokens` is the estimate that stands until the end record. The prices, in
    billionths for one token, are what such a row's cost is reckoned with.
    """

    id: str
    api_key_id: str
    tenant_id: str
    user_id: str | None
    endpoint: str
    model: str
    prompt_tokens: int
    created_at_us: int
    prompt_price_nano: int = 0
    completion_price_nano: int = 0


class UsageMark(msgspec.Struct, tag=2, array_like=True, frozen=True, gc=False):
    """How far a running request has come: tokens so far, and milliseconds since it arrived."""

    id: str
    completion_tokens: int
    elapsed_ms: int = 0


class UsageRecord(msgspec.Struct, tag=3, array_like=True, frozen=True, gc=False):
    """One row of `ai_usage_logs`: what a request was and came to.

    `response_time_ms` >= 0; `cost_nano` in billionths of the currency unit that the engine's prices are given in.
    """

    id: str
    api_key_id: str
    tenant_id: str
    user_id: str | None
    endpoint: str
    model_used: str | None
    prompt_tokens: int
    completion_tokens: int
    tokens_saved: int
    response_cached: bool
    response_time_ms: int
    status_code: int
    error_message: str | None
    created_at_us: int
    cost_nano: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def ended_at_us(self) -> int:
        """When it was recorded, to the millisecond."""
        return self.created_at_us + self.response_time_ms * 1_000


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """Sums over a group of rows; `key` is the day, model, endpoint or key id."""

    key: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached: int
    cost_nano: int
    response_time_ms_total: int


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums over all rows, for the operator."""

    requests: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    tokens_saved: int
    response_time_ms_total: int
    by_status: dict[int, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """A sum that is not what its rows come to: `delta` is the rows less the sum, by the name of the column.

    `table` is the rollups or the totals; those have a status alone.
    """

    table: str
    status_code: int
    delta: Mapping[str, int]
    tenant_id: str = ""
    api_key_id: str = ""
    hour_us: int = 0
    endpoint: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row that the database refused: its fields as they were, and the reason."""

    id: int
    record: Mapping[str, Any]
    reason: str

    def row(self) -> UsageRecord:
        """The row; raises `Unexpected` where the fields are not one's."""
        fields = [self.record.get(name) for name in UsageRecord.__struct_fields__]
        try:
            return msgspec.convert([UsageRecord.__struct_config__.tag, *fields], UsageRecord)
        except msgspec.ValidationError as error:
            raise Unexpected(detail=str(error)) from error


@dataclass(frozen=True, slots=True)
class SpoolHealth:
    """How the spool stands. `is_full`: new requests get 503; `is_degraded`: an operator should look.

    `backlog_bytes` is the size of all spool files of all workers, `free_bytes` what the disk has left, `replica_lag_s`
    how far the replica is behind what this worker has shipped; 0 without one.
    """

    is_full: bool
    is_degraded: bool
    backlog_bytes: int
    free_bytes: int
    replica_lag_s: float = 0.0


@dataclass(slots=True)
class LedgerCounts:
    """What a ledger has done since it was made, for metrics."""

    shipped_rows: int = 0
    repeated_rows: int = 0
    dead_letters: int = 0
    lost_requests: int = 0
    adopted_folders: int = 0
    damaged_files: int = 0
    unspooled_rows: int = 0
    sync_failures: int = 0
