"""Sums of rows by hour and over all, as the rollups and the totals keep them; and which hours of a span are whole."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from aiservice.core.errors import Unexpected
from aiservice.usage.model import NUMBER_MAX, UsageRecord

HOUR_US = 3_600_000_000
# Columns of both tables, in the order of `Sums`.
SUM_NAMES = (
    "requests",
    "cached",
    "prompt_tokens",
    "completion_tokens",
    "tokens_saved",
    "cost_nano",
    "response_time_ms",
)
Sums = tuple[int, ...]
# Tenant, key, start of the hour, endpoint, model or nothing, status: the key of a rollup.
HourKey = tuple[str, str, int, str, str, int]

_TOO_LARGE = f"A number of the row is above {NUMBER_MAX}."

_hour_key = attrgetter("tenant_id", "api_key_id", "created_at_us", "endpoint", "model_used", "status_code")
_summed = tuple(
    attrgetter(name)
    for name in (
        "response_cached",
        "prompt_tokens",
        "completion_tokens",
        "tokens_saved",
        "cost_nano",
        "response_time_ms",
    )
)


def by_hour(rows: Iterable[UsageRecord]) -> dict[HourKey, Sums]:
    """The sums of rows in order of their keys, so that transactions which add them never wait for each other in a ring.

    Raises `Unexpected` for numbers whose sums would not fit into a column after some thousand such rows.
    """
    groups: dict[HourKey, list[UsageRecord]] = {}
    for row in rows:
        tenant_id, api_key_id, at_us, endpoint, model, status = _hour_key(row)
        key = (tenant_id, api_key_id, at_us - at_us % HOUR_US, endpoint, model or "", status)
        group = groups.get(key)
        if group is None:
            groups[key] = [row]
        else:
            group.append(row)
    return {key: _sums(groups[key]) for key in sorted(groups)}


def by_status(hours: Mapping[HourKey, Sums]) -> dict[int, Sums]:
    """What the sums of hours come to for each status, in order of the status."""
    groups: dict[int, list[Sums]] = {}
    for key, sums in hours.items():
        groups.setdefault(key[5], []).append(sums)
    return {status: tuple(map(sum, zip(*groups[status], strict=True))) for status in sorted(groups)}


def check_size(numbers: Mapping[str, Sequence[int]]) -> None:
    """Raises `Unexpected` where a column of rows, by its name, has a number that no sum could hold some thousand of."""
    if max(max(numbers[name], default=0) for name in SUM_NAMES if name in numbers) > NUMBER_MAX:
        raise Unexpected(detail=_TOO_LARGE)


def whole_hours(from_us: int, to_us: int) -> tuple[int, int]:
    """The hours that lie whole in from <= t < to, as their first and last bound; equal where there is none."""
    first, last = -(-from_us // HOUR_US) * HOUR_US, to_us // HOUR_US * HOUR_US
    return (first, last) if first < last else (to_us, to_us)


def _sums(rows: Sequence[UsageRecord]) -> Sums:
    sums = (len(rows), *[sum(map(get, rows)) for get in _summed])
    if max(sums) > NUMBER_MAX and max(get(row) for row in rows for get in _summed) > NUMBER_MAX:
        raise Unexpected(detail=_TOO_LARGE)
    return sums
