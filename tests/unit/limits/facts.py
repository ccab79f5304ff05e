"""A caller as the room of limits sees it, and the limits of its tier."""

from dataclasses import dataclass

from aiservice.core.settings import LimitSettings

SETTINGS = LimitSettings(
    default_rate_limit=3, default_rate_window_s=60, rate_limit_pro=1_000, rate_limit_enterprise=10_000
)


@dataclass(frozen=True, slots=True)
class Facts:
    logical_id: str = "k1"
    tenant_id: str = "acme"
    user_id: str | None = "ann"
    tier: str = "free"
    quota_requests_per_hour: int | None = None
    tokens_per_hour: int | None = None
    concurrency: int | None = None
