"""What callers and engines said, fit for a row."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aiservice.usage import cleaning
from aiservice.usage.model import UsageRecord, UsageStart


def test_a_clean_record_is_left_alone(make_record):
    record = make_record(error_message="engines.failed: the engine said no")

    assert cleaning.clean(record) is record


def test_control_characters_and_length(make_record):
    record = cleaning.clean(
        make_record(error_message="a\r\n\x1b[31mb\0\u202ec\ud800" + "x" * 600, model_used="m" * 300)
    )

    assert record.error_message == "a   [31mb  c " + "x" * 487
    assert record.model_used == "m" * 256


@given(text=st.text(st.characters(codec=None), max_size=40), number=st.integers())
def test_a_storable_record_can_be_encoded(text, number):
    record = cleaning.storable_record(
        UsageRecord("id", text, text, text, text, text, number, number, number, False, number, 200, text, 1, number)
    )
    start = cleaning.storable_start(UsageStart("id", text, text, text, text, text, number, 1))

    for entry in (record, start):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=type(entry)) == entry


def test_moved_changes_the_time_only(make_record):
    record = make_record()

    assert cleaning.moved(record, 5).created_at_us == 5
    assert cleaning.moved(cleaning.moved(record, 5), record.created_at_us) == record
