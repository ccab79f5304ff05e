"""What matters about a column's type, and which texts may stand for data."""

import re
from functools import lru_cache

from aiservice.sqlassist.schema.model import Kind

COMMENT_CHARACTERS_MAX = 80
LISTED_CHARACTERS_MAX = 1_000
# First match wins: `DATETIME` has DATE in it, `POINT` has INT.
_PATTERNS: tuple[tuple[str, Kind], ...] = (
    (r"^(ARRAY|STRUCT|MAP|UNION|ROW|TUPLE|NESTED|LIST|OBJECT|RECORD)\b|\[\]$", "json"),
    (r"^(DECIMAL|NUMERIC|NUMBER)\(\d+(, ?0)?\)$", "integer"),
    (r"TIMESTAMP|DATETIME|SMALLDATETIME", "datetime"),
    (r"^DATE", "date"),
    (r"^TIME", "time"),
    (r"^BOOL|^BIT$|^BIT\(1\)", "boolean"),
    (r"POINT|INTERVAL|GEO", "unknown"),
    (r"INT|SERIAL|YEAR|^LONG$", "integer"),
    (r"REAL|FLOA|DOUB|DEC|NUMERIC|NUMBER|MONEY", "real"),
    (r"CHAR|TEXT|CLOB|STRING|ENUM|UUID|UNIQUEIDENTIFIER|^SET|NAME|CITEXT|INET", "text"),
    (r"JSON|VARIANT|OBJECT|MAP|STRUCT|ARRAY", "json"),
    (r"BLOB|BINARY|BYTE|IMAGE", "binary"),
)
_KINDS = tuple((re.compile(pattern), kind) for pattern, kind in _PATTERNS)
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]+")
_LISTED = re.compile(
    r"\b(?:values?|one of|either|in|options?|e\.g\.|enum)\s*(?:are|is)?\s*[:=(]\s*(?P<list>[^.;()]{1,400})",
    re.IGNORECASE,
)


@lru_cache(maxsize=4_096)
def kind_of(type_text: str) -> Kind:
    """The kind of a type, whatever the dialect that spells it."""
    text = type_text.upper().strip()
    return next((kind for pattern, kind in _KINDS if pattern.search(text)), "unknown")


def one_line(text: str) -> str:
    """Without line ends, control characters, and others that are not seen."""
    return " ".join(_UNSEEN.sub(" ", text).split())


def cut(comment: str | None) -> str:
    """A stranger's comment as data: one line, at most 80 characters."""
    return one_line(comment or "")[:COMMENT_CHARACTERS_MAX]


def listed_values(comment: str | None) -> tuple[str, ...]:
    """The values that a comment lists: `possible values: a, b, c`."""
    match = _LISTED.search(one_line((comment or "")[:LISTED_CHARACTERS_MAX]))
    if match is None:
        return ()
    values = [part.strip(" '\"`\n\t") for part in re.split(r"[,|/]| or ", match["list"])]
    fit = tuple(value for value in values if 0 < len(value) <= 40 and len(value.split()) <= 4)
    return fit if len(fit) > 1 else ()
