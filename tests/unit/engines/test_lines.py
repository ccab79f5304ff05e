import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.core.errors import EngineError
from aiservice.engines.lines import LINE_BYTES_MAX, EventSplitter, LineSplitter

texts = st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1).filter(str.strip))


def cut_at(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(data[at : at + size])
        at += size
    return [*chunks, data[at:]]


@given(lines=texts, sizes=st.lists(st.integers(0, 9)), end=st.sampled_from(["\n", "\r\n"]))
def test_lines_are_whole_however_they_are_cut(lines: list[str], sizes: list[int], end: str):
    data = "".join(line + end for line in lines).encode()
    splitter = LineSplitter()

    found = [line for chunk in cut_at(data, sizes) for line in splitter.feed(chunk)]

    assert [line.decode() for line in found] == lines
    assert splitter.rest() == b""


@given(values=st.lists(st.text()), sizes=st.lists(st.integers(0, 9)))
def test_events_are_whole_however_they_are_cut(values: list[str], sizes: list[int]):
    data = b": ping\n\n" + b"".join(b"event: message\ndata: " + json.dumps(v).encode() + b"\r\n\r\n" for v in values)
    splitter = EventSplitter()

    found = [payload for chunk in cut_at(data, sizes) for payload in splitter.feed(chunk)]

    assert [json.loads(payload) for payload in found] == values


def test_data_without_a_space_is_read():
    assert EventSplitter().feed(b"data:[DONE]\n\n") == [b"[DONE]"]


def test_the_rest_is_what_has_no_line_end():
    splitter = LineSplitter()

    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.rest() == b"tw"


def test_a_line_without_end_is_refused():
    splitter = LineSplitter()
    splitter.feed(b"x" * LINE_BYTES_MAX)

    with pytest.raises(EngineError, match="too long"):
        splitter.feed(b"x")


def test_a_long_line_in_small_pieces_takes_linear_time():
    def seconds(pieces: int) -> float:
        splitter = LineSplitter()
        start = time.thread_time()
        for _ in range(pieces):
            splitter.feed(b"x" * 16)
        splitter.feed(b"\n")
        return time.thread_time() - start

    few, many = (min(seconds(pieces) for _ in range(3)) for pieces in (2_000, 20_000))

    # Ten times the pieces; joining at each of them would take a hundred times as long.
    assert many < 40 * few
