"""The ledger's rows and what is asked of them."""

from dataclasses import dataclass
from typing import Literal

GroupBy = Literal["day", "model", "endpoint", "key"]


@dataclass(frozen=True, slots=True)
class UsageStart:
    """Written before the engine is called, so that a request that dies with its worker is still a row.

    `id` is the request's UUIDv7; `prompt_tokens` is the estimate that stands until the end record.
    """

    id: str
    api_key_id: str
    tenant_id: str
    user_id: str | None
    endpoint: str
    model: str
    prompt_tokens: int
    created_at_us: int


@dataclass(frozen=True, slots=True)
class UsageRecord:
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
class SpoolHealth:
    """How the spool stands. `is_full`: new requests get 503; `is_degraded`: an operator should look.

    `backlog_bytes` is the size of all spool files of all workers, `free_bytes` what the disk has left.
    """

    is_full: bool
    is_degraded: bool
    backlog_bytes: int
    free_bytes: int


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
