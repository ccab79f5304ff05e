"""What an error carries: a sentence for the caller, details for the log, and where waiting helps."""

import pytest

from aiservice.core.errors import (
    AIServiceError,
    EngineBusy,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnreachable,
    FieldInvalid,
    InvalidRequest,
    KeyRefused,
    LimitExceeded,
    ShuttingDown,
    SpoolFull,
    StartRefused,
    StoreUnavailable,
)


def test_the_title_is_the_message_unless_told():
    assert LimitExceeded().public == "The rate limit is used up."
    assert LimitExceeded("100 requests per hour are used up.").public == "100 requests per hour are used up."


def test_the_detail_is_for_the_log_only():
    error = EngineError(detail="connection reset by 10.0.0.3")

    assert error.public == "The engine failed."
    assert str(error) == "The engine failed. [connection reset by 10.0.0.3]"


def test_the_text_without_detail_is_the_public_one():
    assert str(KeyRefused()) == KeyRefused.title


def test_a_field_error_names_its_field():
    error = FieldInvalid("temperature must be from 0 to 2.", param="temperature")

    assert (error.param, error.status, error.code) == ("temperature", 422, "request.field_invalid")


def test_waiting_time_is_kept():
    assert LimitExceeded(retry_after_s=36).retry_after_s == 36
    assert LimitExceeded().retry_after_s is None


@pytest.mark.parametrize(
    ("error", "family", "status", "is_retryable"),
    [
        (FieldInvalid, InvalidRequest, 422, False),
        (EngineUnreachable, EngineError, 502, True),
        (EngineRefused, EngineError, 400, False),
        (EngineBusy, EngineError, 503, True),
        (EngineTimeout, EngineError, 504, True),
        (SpoolFull, StoreUnavailable, 503, True),
        (ShuttingDown, AIServiceError, 503, True),
        (StartRefused, AIServiceError, 500, False),
    ],
)
def test_families(error: type[AIServiceError], family: type[AIServiceError], status: int, is_retryable: bool):
    assert issubclass(error, family)
    assert (error.status, error.is_retryable) == (status, is_retryable)
