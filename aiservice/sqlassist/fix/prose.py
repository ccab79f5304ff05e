"""What is around a statement and is none: code fences, prose, a prompt's echo."""

import re
from collections.abc import Iterator

from aiservice.sqlassist.model import Change

_FENCE = re.compile(r"```(?:\w+)?[ \t]*\n?(?P<inner>.*?)(?:```|$)", re.DOTALL)
_START = re.compile(r"\b(?:with\s+(?:recursive\s+)?\w+\s+as\s*\(|select\b|insert\s+into\b|update\s+\w|delete\s+from\b)", re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:sql|query|answer|output|response)\s*[:>]\s*", re.IGNORECASE)
_AFTER = re.compile(
    r"(?:;\s*\S.*$)|(?:\n\s*\n(?=\s*(?:[A-Z][a-z]+\s|--|#|/\*|\*\*|Note|This|The)).*$)|(?:\n\s*(?:###|---|\*\*|</|Question|Explanation|Answer|Note:).*$)",
    re.DOTALL,
)


def without_prose(text: str) -> Iterator[tuple[str, Change | None]]:
    """What may be the statement in a text, likeliest first; without a change where there is nothing around it."""
    stripped = text.strip()
    seen: set[str] = set()
    for found in _candidates(stripped):
        bare = found.strip().rstrip(";").strip()
        if bare and bare not in seen:
            seen.add(bare)
            is_same = bare == stripped.rstrip(";").strip()
            yield bare, None if is_same else _change(stripped, bare)


def _candidates(text: str) -> Iterator[str]:
    fenced = [match["inner"] for match in _FENCE.finditer(text) if match["inner"].strip()]
    if "```" in text:
        yield from sorted(fenced, key=lambda inner: _START.search(inner) is None)
    if not fenced:
        yield text
    labelled = _LABEL.sub("", text)
    start = _START.search(labelled)
    if start is not None:
        inner = labelled[start.start() :]
        cut = _AFTER.sub("", inner)
        if cut != text:
            yield cut
        if inner not in (cut, text):
            yield inner
        for again in list(_START.finditer(labelled))[1:3]:
            yield _AFTER.sub("", labelled[again.start() :])


def _change(before: str, after: str) -> Change:
    return Change("prose", before[:200], after[:200], "Only the statement itself is SQL; what stood around it was removed.")
