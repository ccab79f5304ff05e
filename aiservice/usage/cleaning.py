"""Makes what callers and engines said fit for a row: no control characters, no text that UTF-8 cannot hold."""

from msgspec.structs import replace

from aiservice.usage.model import NUMBER_MAX, UsageRecord, UsageStart

ERROR_MESSAGE_LENGTH_MAX = 500
NAME_LENGTH_MAX = 256


def clean(record: UsageRecord) -> UsageRecord:
    """The record with a printable `error_message` of at most 500 and `model_used` of at most 256 characters."""
    message, model = record.error_message, record.model_used
    if _is_clean(message, ERROR_MESSAGE_LENGTH_MAX) and _is_clean(model, NAME_LENGTH_MAX):
        return record
    return replace(
        record,
        error_message=None if message is None else text(message, ERROR_MESSAGE_LENGTH_MAX),
        model_used=None if model is None else text(model, NAME_LENGTH_MAX),
    )


def text(value: str, length_max: int) -> str:
    """The text on one line, everything unprintable as a blank, cut at a length."""
    return "".join(sign if sign.isprintable() else " " for sign in value[:length_max])


def storable_record(record: UsageRecord) -> UsageRecord:
    """A record that the spool could not encode, with every text and number made to fit."""
    return replace(
        clean(record),
        api_key_id=_storable(record.api_key_id),
        tenant_id=_storable(record.tenant_id),
        user_id=None if record.user_id is None else _storable(record.user_id),
        endpoint=_storable(record.endpoint),
        prompt_tokens=_bounded(record.prompt_tokens),
        completion_tokens=_bounded(record.completion_tokens),
        tokens_saved=_bounded(record.tokens_saved),
        response_time_ms=_bounded(record.response_time_ms),
        cost_nano=_bounded(record.cost_nano),
    )


def storable_start(start: UsageStart) -> UsageStart:
    """A start that the spool could not encode, with every text and number made to fit."""
    return replace(
        start,
        api_key_id=_storable(start.api_key_id),
        tenant_id=_storable(start.tenant_id),
        user_id=None if start.user_id is None else _storable(start.user_id),
        endpoint=_storable(start.endpoint),
        model=text(start.model, NAME_LENGTH_MAX),
        prompt_tokens=_bounded(start.prompt_tokens),
        prompt_price_nano=_bounded(start.prompt_price_nano),
        completion_price_nano=_bounded(start.completion_price_nano),
    )


def _is_clean(value: str | None, length_max: int) -> bool:
    return value is None or (len(value) <= length_max and value.isprintable())


def _storable(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")


def _bounded(value: int) -> int:
    return max(0, min(value, NUMBER_MAX))


def moved(record: UsageRecord, created_at_us: int) -> UsageRecord:
    """The record at another time."""
    return replace(record, created_at_us=created_at_us)
