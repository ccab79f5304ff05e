import io
import json
import logging
from collections.abc import Iterator

import pytest

from aiservice.observe import REQUEST_ID, configure_logging
from aiservice.observe.logging import TEXT_LENGTH_MAX, style_for

KEY = "vpn_abcdefGHIJ12_" + "S3cr3t" * 8 + "x"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("aiservice")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before
    logging.captureWarnings(capture=False)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def logger(stream: io.StringIO, *, level: str = "info", style: str = "json") -> logging.Logger:
    configure_logging(level=level, style=style, stream=stream)
    return logging.getLogger("aiservice.test")


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_its_event_and_its_values(stream):
    logger(stream).warning("a worker died", extra={"worker": 3, "exit_code": -9})

    [line] = lines(stream)
    assert line["level"] == "warning"
    assert line["logger"] == "aiservice.test"
    assert line["event"] == "a worker died"
    assert (line["worker"], line["exit_code"]) == (3, -9)
    assert line["time"].endswith("+00:00")
    assert "request_id" not in line


def test_the_request_id_is_that_of_the_context(stream):
    token = REQUEST_ID.set("r-1")
    logger(stream).info("said")
    REQUEST_ID.reset(token)

    assert lines(stream)[0]["request_id"] == "r-1"


@pytest.mark.parametrize("style", ["json", "human"])
def test_one_event_is_one_line_of_printable_characters(stream, style):
    logger(stream, style=style).info("a\r\nb\x1b[31m\x00\x7f\u2028c", extra={"path": "/x\n/y"})

    text = stream.getvalue()
    assert text.endswith("\n")
    assert text[:-1].isprintable()


@pytest.mark.parametrize("style", ["json", "human"])
def test_keys_are_hidden_wherever_they_stand(stream, style):
    try:
        raise ValueError(f"bad {KEY}")
    except ValueError:
        logger(stream, style=style).exception("failed with %s", KEY, extra={"header": KEY, "api_key": "hidden-value"})

    assert "S3cr3t" not in stream.getvalue()
    assert "hidden-value" not in stream.getvalue()
    assert stream.getvalue().count("vpn_abcdefGHIJ12_***") == 3


def test_a_traceback_has_no_values_of_variables(stream):
    local_value = "".join(["not", "-", "shown"])
    try:
        raise KeyError("where")
    except KeyError:
        logger(stream).exception("failed")

    [line] = lines(stream)
    assert "KeyError: 'where'" in line["traceback"]
    assert "test_logging.py" in line["traceback"]
    assert local_value not in stream.getvalue()


def test_a_value_cannot_take_the_place_of_the_event(stream):
    logger(stream).info("true event", extra={"event": "false", "level": "false"})

    assert (lines(stream)[0]["event"], lines(stream)[0]["level"]) == ("true event", "info")


def test_long_text_is_cut(stream):
    logger(stream).info("x" * 100_000, extra={"more": "y" * 100_000})

    assert len(lines(stream)[0]["event"]) == TEXT_LENGTH_MAX + 3
    assert len(stream.getvalue()) < 3 * TEXT_LENGTH_MAX


def test_values_of_any_type_are_written(stream):
    logger(stream).info("said", extra={"kind": object, "names": {"b"}, "nan": 1.5})

    assert lines(stream)[0]["names"] == ["b"]


def test_the_level_is_for_our_own_lines_and_others_start_at_warning(stream):
    ours = logger(stream, level="warning")
    ours.info("not said")
    logging.getLogger("uvicorn.error").info("not said")
    logging.getLogger("uvicorn.error").error("said")
    logger(stream, level="debug").debug("said")

    assert [line["event"] for line in lines(stream)] == ["said", "said"]


def test_a_human_line_is_short(stream):
    logger(stream, style="human").info("ready", extra={"workers": 4})

    assert stream.getvalue()[8:] == " info    ready  workers=4\n"


def test_style_is_human_only_in_development_on_a_terminal(stream):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert style_for(Terminal(), is_development=True) == "human"
    assert style_for(Terminal(), is_development=False) == "json"
    assert style_for(stream, is_development=True) == "json"
