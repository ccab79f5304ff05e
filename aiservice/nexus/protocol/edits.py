"""Finds the one place that an edit is about, and changes it; or says why there is none, with the nearest lines."""

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import msgspec

from aiservice.nexus.protocol.elision import elisions
from aiservice.nexus.protocol.operations import Edit

_TAB = 4
_QUOTED_LINES_MAX = 14
_PLACES_MAX = 8
_WORD = re.compile(r"\w+")


class Edited(msgspec.Struct, frozen=True):
    """The text after an edit, or the reason why there is none: exactly one of the two."""

    text: str | None
    reason: str = ""


class _Found(NamedTuple):
    start: int
    length: int


def edited(text: str, edit: Edit) -> Edited:
    """Replaces whole lines that match exactly once: as they are, else but for spaces, else but for indentation.

    Whichever way finds a place first has to find it once; more than one is refused and never guessed. The reason
    quotes the nearest lines with their numbers. Takes time in proportion to text and edit; keeps CRLF line ends.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").split("\n")
    search, replace = edit.search.split("\n"), edit.replace.split("\n") if edit.replace else []
    if reason := _fault(text, edit):
        return Edited(None, reason)
    for way in (_exact, _spaced, _shifted):
        wanted = search if way is _exact else _trimmed(search)
        places = way(lines, wanted)
        if len(places) > 1:
            return Edited(None, _ambiguous(places))
        if places:
            found = places[0]
            new = replace if way is _exact else _trimmed(replace)
            if way is _shifted:
                shifted = _reindented(new, wanted[0], lines[found.start])
                if shifted is None:
                    return Edited(None, _unfit(lines, found))
                new = shifted
            return Edited(newline.join([*lines[: found.start], *new, *lines[found.start + found.length :]]))
    return Edited(None, _missing(lines, search, edit.replace))


def _fault(text: str, edit: Edit) -> str:
    if not edit.is_closed:
        return "The edit is not complete: it needs one SEARCH part, one ======= and one REPLACE part."
    if not edit.search.strip():
        return "The edit has nothing to search for; quote the lines that it replaces."
    numbers = elisions(edit.path, edit.replace, before=text)
    if numbers:
        return f"Line {numbers[0]} of the replacement stands for code that was left out; write the code."
    return ""


# Three ways to compare


def _exact(lines: Sequence[str], search: Sequence[str]) -> list[_Found]:
    return [_Found(start, len(search)) for start in _occurrences(lines, search)]


def _spaced(lines: Sequence[str], search: Sequence[str]) -> list[_Found]:
    """Indentation counts; other runs of spaces are one space, and those at a line's end nothing."""
    text = [(_indent(line), _collapsed(line)) for line in lines]
    wanted = [(_indent(line), _collapsed(line)) for line in search]
    return [_Found(start, len(search)) for start in _occurrences(text, wanted)]


def _shifted(lines: Sequence[str], search: Sequence[str]) -> list[_Found]:
    """Every line is further in, or further out, by the same columns as the first."""
    text, wanted = _steps(lines), _steps(search)
    starts = _occurrences(text, wanted[1:]) if len(wanted) > 1 else list(range(1, len(lines) + 1))
    first = _collapsed(search[0])
    return [_Found(at - 1, len(search)) for at in starts if at > 0 and _collapsed(lines[at - 1]) == first]


def _steps(lines: Sequence[str]) -> list[tuple[str, int]]:
    """Each line with how far it is in from the last line that is not blank."""
    steps, last = [], 0
    for line in lines:
        words = _collapsed(line)
        indent = _indent(line) if words else last
        steps.append((words, indent - last))
        last = indent
    return steps


def _occurrences(text: Sequence[Hashable], wanted: Sequence[Hashable]) -> list[int]:
    """Where `wanted` begins in `text`, overlaps included, by the prefix function: linear."""
    border = [0] * len(wanted)
    for place in range(1, len(wanted)):
        size = border[place - 1]
        while size and wanted[place] != wanted[size]:
            size = border[size - 1]
        border[place] = size + (wanted[place] == wanted[size])
    found, size = [], 0
    for place, item in enumerate(text):
        while size and (size == len(wanted) or item != wanted[size]):
            size = border[size - 1]
        if item == wanted[size]:
            size += 1
        if size == len(wanted):
            found.append(place - size + 1)
    return found


def _collapsed(line: str) -> str:
    return " ".join(line.split())


def _indent(line: str) -> int:
    """The columns before the first word; a blank line has none."""
    body = line.lstrip(" \t")
    return len(line[: len(line) - len(body)].expandtabs(_TAB)) if body else 0


def _trimmed(lines: Sequence[str]) -> list[str]:
    """The lines without blank ones at both ends."""
    full = [number for number, line in enumerate(lines) if line.strip()]
    return list(lines[full[0] : full[-1] + 1]) if full else []


def _reindented(lines: Sequence[str], searched: str, there: str) -> list[str] | None:
    """The replacement as far in as the text is; None where a line would have to go out past the margin."""
    shift = _indent(there) - _indent(searched)
    has_tabs = there.startswith("\t")
    moved = []
    for line in lines:
        columns = _indent(line) + shift
        if line.strip() and columns < 0:
            return None
        lead = "\t" * (columns // _TAB) + " " * (columns % _TAB) if has_tabs else " " * columns
        moved.append(lead + line.lstrip(" \t") if line.strip() else "")
    return moved


# Reasons


def _ambiguous(places: Sequence[_Found]) -> str:
    numbers = ", ".join(str(found.start + 1) for found in places[:_PLACES_MAX])
    return (
        f"The searched lines are there {len(places)} times, at lines {numbers}; "
        "quote more of the lines around the one that is meant."
    )


def _unfit(lines: Sequence[str], found: _Found) -> str:
    quoted = _numbered(lines, found.start, found.length)
    return f"The replacement is indented otherwise than the searched lines; the file has:\n{quoted}"


def _missing(lines: Sequence[str], search: Sequence[str], replace: str) -> str:
    new = replace.split("\n")
    is_there = bool(replace.strip()) and len(_occurrences(lines, new)) == 1
    done = " What would replace them is there already." if is_there else ""
    start, length = _nearest(lines, _trimmed(search))
    return f"The searched lines are not in the file.{done} The nearest are:\n{_numbered(lines, start, length)}"


def _nearest(lines: Sequence[str], search: Sequence[str]) -> tuple[int, int]:
    """The window as long as the search that has most of its words, and of those the one with most of its lines."""
    words = Counter(word for line in search for word in _WORD.findall(line))
    whole = {_collapsed(line) for line in search if line.strip()}
    # A rare word tells more than one that the search is full of.
    scores = [
        sum(1 / words[word] for word in set(_WORD.findall(line)) if word in words)
        + (2 if _collapsed(line) in whole else 0)
        for line in lines
    ]
    length = min(len(search), len(lines))
    score = best = sum(scores[:length])
    start = 0
    for end in range(length, len(lines)):
        score += scores[end] - scores[end - length]
        if score > best + 1e-9:
            best, start = score, end - length + 1
    return start, length


def _numbered(lines: Sequence[str], start: int, length: int) -> str:
    first = max(0, start - 1)
    last = min(len(lines), start + length + 1, first + _QUOTED_LINES_MAX)
    return "\n".join(f"{number + 1:>5} | {lines[number][:200]}" for number in range(first, last))
