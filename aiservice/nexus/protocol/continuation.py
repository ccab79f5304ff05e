"""Puts together a file that was cut off and what the model wrote when it was asked to go on."""

TAIL_LINES = 20
_OVERLAP_CHARS_MAX = 20_000
_TELLING_CHARS = 12


def tail(text: str, *, lines: int = TAIL_LINES) -> str:
    """The last lines of a text, which the model is shown to go on from."""
    return "\n".join(text.rstrip("\n").split("\n")[-lines:])


def join(text: str, more: str) -> str:
    """`text` and `more`, with what both have taken once.

    That is the longest end of the one, from a line's beginning on, that begins the other. A few brackets are no
    overlap, for code may end in them twice over. Where there is none, `more` goes on from the last character, or
    begins the last line anew where it repeats what there is of it.
    """
    if more.startswith(text):
        return more
    window = text[-_OVERLAP_CHARS_MAX:]
    for length in _overlaps(window, more[:_OVERLAP_CHARS_MAX]):
        is_at_line = length == len(text) or text[-length - 1] == "\n"
        if is_at_line and _is_telling(window[-length:]):
            return text + more[length:]
    last = text.rpartition("\n")[2]
    if any(mark.isalnum() for mark in last) and more.startswith(last):
        return text[: len(text) - len(last)] + more
    if last.strip() and more.startswith(last.lstrip()) and len(last.strip()) >= _TELLING_CHARS:
        return text[: len(text) - len(last.lstrip())] + more
    return text + more


def _is_telling(overlap: str) -> bool:
    return sum(mark.isalnum() for mark in overlap) >= _TELLING_CHARS


def _overlaps(text: str, more: str) -> list[int]:
    """The lengths of every end of `text` that begins `more`, longest first, by the prefix function: linear."""
    border = [0] * len(more)
    for place in range(1, len(more)):
        size = border[place - 1]
        while size and more[place] != more[size]:
            size = border[size - 1]
        border[place] = size + (more[place] == more[size])
    size = 0
    for mark in text:
        while size and (size == len(more) or mark != more[size]):
            size = border[size - 1]
        if more and mark == more[size]:
            size += 1
    lengths = []
    while size:
        lengths.append(size)
        size = border[size - 1]
    return lengths
