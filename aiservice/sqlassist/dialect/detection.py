"""Whose SQL a text is, by words and signs that only some dialects have."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

# Those that translation has a table for come first; ties keep this order.
DIALECTS = ("postgres", "mysql", "sqlite", "tsql", "bigquery", "duckdb", "snowflake", "oracle")
_STRING = re.compile(r"'(?:[^'\\]|''|\\.)*'")
_INSIDE = re.compile(r"[^'\s]")


@dataclass(frozen=True, slots=True)
class Likely:
    """A dialect, and what in the text says so."""

    dialect: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Mark:
    dialects: frozenset[str]
    reason: str
    pattern: re.Pattern[str] = field(compare=False)


def _mark(dialects: str, reason: str, pattern: str) -> _Mark:
    return _Mark(frozenset(dialects.split()), reason, re.compile(pattern, re.IGNORECASE | re.DOTALL))


def _calls(dialects: str, names: str) -> Sequence[_Mark]:
    return [_mark(dialects, f"{name}()", rf"\b{name}\s*\(") for name in names.split()]


_MARKS: Sequence[_Mark] = (
    _mark("bigquery", "a name of project and data set in backticks", r"`[\w-]+\.[\w.-]+`"),
    _mark("mysql bigquery sqlite", "backticks", r"`[^`]+`"),
    _mark("tsql sqlite", "square brackets around a name", r"(?<![\w\])])\[[a-z_][^\]\[]*\]"),
    _mark("tsql", "TOP", r"\bselect\s+(?:distinct\s+|all\s+)?top\s*\(?\s*\d"),
    _mark("postgres mysql sqlite bigquery duckdb snowflake", "LIMIT", r"\blimit\s+\d"),
    _mark("mysql sqlite", "LIMIT with a comma", r"\blimit\s+\d+\s*,\s*\d"),
    _mark("postgres duckdb snowflake", "casts with ::", r"::\s*[a-z]"),
    _mark("postgres duckdb snowflake", "ILIKE", r"\bilike\b"),
    _mark("postgres duckdb", "SIMILAR TO", r"\bsimilar\s+to\b"),
    _mark("postgres", "~ for regular expressions", r"[\w)\"]\s*!?~\*?\s*'"),
    _mark("postgres duckdb snowflake", "an interval as one text", r"\binterval\s+'x* x+'"),
    _mark("postgres mysql bigquery duckdb snowflake oracle", "an interval with a unit", r"\binterval\s+'x+'\s*[a-z]"),
    _mark("mysql bigquery duckdb", "an interval of a number", r"\binterval\s+\(?-?\d+\)?\s+[a-z]"),
    _mark("postgres duckdb snowflake", "DATE_TRUNC with the unit first", r"\bdate_trunc\s*\(\s*'"),
    _mark("bigquery", "DATE_TRUNC with the unit last", r"\bdate_trunc\s*\([^']{1,80},\s*[a-z]+(?:\([a-z]+\))?\s*\)"),
    _mark("tsql snowflake duckdb", "DATEDIFF with the unit first", r"\bdatediff\s*\(\s*'?[a-z]+'?\s*,[^,]{1,80},"),
    _mark("tsql", "types of SQL Server", r"\b(?:nvarchar|datetime2|smalldatetime|uniqueidentifier)\b"),
    _mark("tsql", "WITH (NOLOCK)", r"\bwith\s*\(\s*nolock\s*\)"),
    _mark("tsql oracle", "OFFSET ... ROWS FETCH", r"\boffset\s+\d+\s+rows?\s+fetch\b"),
    _mark("bigquery", "types of BigQuery", r"\b(?:float64|int64|bignumeric)\b"),
    _mark("oracle", "ROWNUM or DUAL", r"\brownum\b|\bfrom\s+dual\b"),
    _mark("postgres mysql bigquery duckdb snowflake oracle", "EXTRACT", r"\bextract\s*\(\s*\w+[^,']{0,20}\bfrom\b"),
    _mark("postgres duckdb", "DISTINCT ON", r"\bdistinct\s+on\s*\("),
    *_calls("tsql", "getdate sysdatetime dateadd datename eomonth datefromparts charindex stuff patindex"),
    *_calls("tsql duckdb", "len datepart"),
    *_calls("tsql mysql", "isnull convert"),
    *_calls("mysql", "date_format curdate str_to_date period_diff from_unixtime unix_timestamp timestampdiff"),
    *_calls("mysql duckdb", "dayofweek"),
    *_calls("mysql bigquery duckdb", "date_sub date_add"),
    *_calls("mysql sqlite bigquery duckdb", "ifnull"),
    *_calls("mysql sqlite duckdb", "group_concat"),
    *_calls("mysql tsql duckdb", "year month day"),
    *_calls("mysql postgres", "regexp_like"),
    *_calls("mysql postgres duckdb", "now"),
    *_calls("bigquery", "timestamp_trunc datetime_trunc timestamp_sub timestamp_add datetime_sub datetime_add"),
    *_calls("bigquery", "timestamp_diff safe_divide regexp_contains safe_cast format_date format_timestamp parse_date"),
    *_calls("postgres oracle snowflake", "to_char to_date"),
    *_calls("postgres duckdb", "age date_part make_date regexp_matches to_timestamp"),
    *_calls("postgres tsql bigquery duckdb sqlite", "string_agg"),
    _mark("sqlite", "STRFTIME with the format first", r"\bstrftime\s*\(\s*'"),
    _mark("duckdb", "STRFTIME with the format last", r"\bstrftime\s*\(\s*[^'\s]"),
    *_calls("sqlite", "julianday unixepoch"),
    *_calls("oracle snowflake", "nvl add_months"),
)


def detect(sql: str) -> list[Likely]:
    """The dialects whose words are in a text, likeliest first, each with its reasons; empty where nothing tells."""
    text = _plain(sql)
    points: dict[str, float] = {}
    reasons: dict[str, list[str]] = {}
    for mark in _MARKS:
        if mark.pattern.search(text):
            for dialect in mark.dialects:
                points[dialect] = points.get(dialect, 0.0) + 1 / len(mark.dialects)
                reasons.setdefault(dialect, []).append(mark.reason)
    ranked = sorted(points, key=lambda name: (-len(reasons[name]), -points[name], DIALECTS.index(name)))
    return [Likely(name, tuple(reasons[name])) for name in ranked]


def foreign_to(sql: str, dialect: str) -> tuple[str, ...]:
    """What in a text the dialect does not have, as far as this is known: only for the first six is it known well."""
    if dialect not in DIALECTS[:6]:
        return ()
    text = _plain(sql)
    return tuple(mark.reason for mark in _MARKS if dialect not in mark.dialects and mark.pattern.search(text))


def _plain(sql: str) -> str:
    """With an x for every letter in a string: the marks are outside of them, but for the shape of an interval."""
    return _STRING.sub(lambda match: "'" + _INSIDE.sub("x", match[0][1:-1]) + "'", sql)
