"""The statement gate: what is one statement that only reads, told from its syntax tree.

It is one layer of several: whatever it lets through runs on connections that cannot write either. A function is let
through when sqlglot knows it (those are of the standard or of a dialect, and have no effect) or when it is on the list
of harmless ones; any other name may be somebody's own function that writes, and so may a table function.
"""

import logging
import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiservice.core.errors import StatementRefused

# It logs the text of statements that it cannot read whole, and those are nobody's but the caller's.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

STATEMENT_CHARACTERS_MAX = 100_000
DEPTH_MAX = 150
_USING = re.compile(r"\busing\s*(?P<operator><=?|>=?)(?=\s|,|;|\)|$)", re.IGNORECASE)
_READS = (exp.Query, exp.Values)
_WRITES = (
    exp.DDL,
    exp.DML,
    exp.Command,
    exp.Into,
    exp.Copy,
    exp.Set,
    exp.Use,
    exp.Pragma,
    exp.Attach,
    exp.Detach,
    exp.Alter,
    exp.Drop,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
    exp.Kill,
    exp.Grant,
    exp.Analyze,
    exp.TruncateTable,
    exp.LoadData,
    exp.Merge,
    exp.Export,
    exp.Install,
)
# Functions that sqlglot has no class for and that only compute.
HARMLESS = frozenset(
    """
    abs acos age array_agg array_length array_position array_to_string ascii asin atan atan2 bit_and bit_length bit_or
    bool_and bool_or btrim cardinality ceil ceiling char char_length character_length charindex chr coalesce concat
    concat_ws corr cos cot count count_big covar_pop covar_samp crc32 cume_dist current_date current_time
    current_timestamp date date_add date_bin date_diff date_format date_part date_sub date_trunc dateadd datediff
    datefromparts datename datepart datetime datetime2fromparts datetimefromparts datetrunc day dayname dayofmonth
    dayofweek dayofyear degrees dense_rank eomonth every exp extract field find_in_set first_value floor format
    format_date format_datetime format_timestamp from_days from_unixtime fromparts gcd generate_series
    getdate getutcdate greatest group_concat hex hour iff iif ifnull initcap instr isdate isfinite isjson isnull
    isnumeric json_agg json_array_length json_build_object json_each json_each_text json_extract json_extract_path_text
    json_object_agg json_query json_type json_valid json_value jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_each jsonb_each_text jsonb_extract_path_text jsonb_object_keys
    jsonb_typeof json_array_elements json_object_keys json_array json_object json_unquote julianday justify_days
    justify_interval lag
    last_day last_value lcase lcm lead least left len length ln localtime localtimestamp locate log log10 log2 lower
    lpad ltrim make_date make_interval make_time make_timestamp makedate max md5 median microsecond mid min
    minute mod mode month monthname newid nth_value ntile nullif num_nonnulls num_nulls nvl octet_length overlay
    parse_date parse_datetime parse_timestamp parsename patindex percent_rank percentile_cont percentile_disc
    period_diff pi position pow power printf quarter quotename radians random rank regexp_contains regexp_count
    regexp_extract regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr regr_slope repeat replace replicate reverse right round row_number row_to_json
    rpad rtrim safe_cast safe_divide sec_to_time second sha1 sha2 sha256 sign sin soundex space split_part sqrt square
    stddev stddev_pop stddev_samp str str_to_date strcmp strftime string_agg string_to_array strpos stuff
    substr substring substring_index sum switchoffset sysdate sysdatetime sysutcdatetime tan time time_format
    time_to_sec timediff timestamp timestamp_add timestamp_diff timestamp_sub timestamp_trunc timestampadd
    timestampdiff to_char to_date to_days to_hex to_json to_jsonb to_number to_timestamp todatetimeoffset total
    translate trim trunc truncate try_cast try_convert typeof ucase unhex unicode unistr unixepoch unix_timestamp unnest
    upper utc_date utc_time utc_timestamp uuid uuid_generate_v4 gen_random_uuid var_pop var_samp variance week weekday
    weekofyear width_bucket xor year yearweek datetime_diff datetime_trunc datetime_add datetime_sub date_from_unix_date
    unix_date unix_seconds unix_millis int64 float64 glob likelihood likely unlikely zeroblob quote changes_none
    """.split()
)
# Known to sqlglot, and yet with an effect, a wait, a file or another database behind them.
DANGEROUS = frozenset(
    """
    benchmark dblink dblink_connect dblink_exec get_lock is_free_lock release_lock load_extension load_file lo_create
    lo_export lo_get lo_import lo_put lo_unlink nextval setval lastval currval pg_advisory_lock
    pg_cancel_backend pg_ls_dir pg_read_binary_file pg_read_file pg_reload_conf pg_sleep pg_sleep_for pg_sleep_until
    pg_stat_file pg_terminate_backend pg_notify query_to_xml query_to_json read_csv read_csv_auto read_json
    read_json_auto read_parquet parquet_scan read_text read_blob glob_files set_config current_setting sleep
    table_to_xml cursor_to_xml xp_cmdshell openrowset opendatasource openquery writefile readfile edit fts3_tokenizer
    sqlite_compileoption_get master_pos_wait sys_exec sys_eval version_tokens_lock_exclusive ml_predict ai_generate
    external_query getenv url_get http_get httpfs duckdb_settings pragma_table_info
    """.split()
)
_DANGEROUS_NODES = tuple(
    getattr(exp, name) for name in ("ReadCSV", "ReadParquet", "NextValueFor", "Sleep") if hasattr(exp, name)
)


def read_one(sql: str, dialect: str) -> exp.Expression:
    """The one statement of a text, parsed; raises `StatementRefused` for none, for more, and for what is no SQL."""
    statements = parse(sql, dialect)
    if not statements:
        raise StatementRefused("The query is empty; send one SQL statement.", param="query")
    if len(statements) > 1:
        raise StatementRefused(
            f"The query has {len(statements)} statements; send one at a time.", param="query"
        )
    return statements[0]


def parse(sql: str, dialect: str) -> list[exp.Expression]:
    """All statements of a text; raises `StatementRefused` with line and column of what could not be read."""
    if len(sql) > STATEMENT_CHARACTERS_MAX:
        raise StatementRefused(
            f"The query has {len(sql):,} characters; {STATEMENT_CHARACTERS_MAX:,} are the most.", param="query"
        )
    if depth(sql) > DEPTH_MAX:
        raise StatementRefused(f"The query is nested more than {DEPTH_MAX} deep.", param="query")
    try:
        found = sqlglot.parse(_without_operators(sql, dialect), read=dialect)
    except SqlglotError as error:
        raise StatementRefused(f"The query could not be read as {dialect}: {said(error)}", param="query") from None
    except RecursionError:
        raise StatementRefused("The query is nested too deeply.", param="query") from None
    return [statement for statement in found if statement is not None and not isinstance(statement, exp.Semicolon)]


def _without_operators(sql: str, dialect: str) -> str:
    """PostgreSQL sorts by an operator too: `ORDER BY a USING >` is what others call DESC."""
    if dialect != "postgres" or not _USING.search(sql):
        return sql
    return _USING.sub(lambda match: "ASC" if match["operator"].startswith("<") else "DESC", sql)


def said(error: SqlglotError) -> str:
    """What a parser's error says, without its colours: `line 1, column 8: Expecting )`."""
    details = getattr(error, "errors", None)
    if not details:
        return str(error).splitlines()[0][:200]
    first = details[0]
    place = f"line {first.get('line')}, column {first.get('col')}: " if first.get("line") else ""
    return f"{place}{first.get('description', '')} near {str(first.get('highlight', ''))[:40]!r}"


def depth(sql: str) -> int:
    """How deep brackets are nested, roughly: strings are not told apart."""
    deepest = level = 0
    for character in sql:
        if character in "([":
            level += 1
            deepest = max(deepest, level)
        elif character in ")]":
            level -= 1
    return deepest


def ensure_read(statement: exp.Expression, dialect: str) -> None:
    """Raises `StatementRefused` with the reason unless the statement only reads."""
    reason = objection(statement, dialect)
    if reason is not None:
        raise StatementRefused(reason, param="query")


def objection(statement: exp.Expression, dialect: str) -> str | None:
    """Why a statement is more than a read; None for one that only reads."""
    if not isinstance(_bare(statement), _READS):
        return f"Only queries may be run; this is {_kind(statement)}."
    for node in statement.walk():
        reason = _objection_to(node)
        if reason is not None:
            return reason
    return None


def _bare(statement: exp.Expression) -> exp.Expression:
    while isinstance(statement, exp.Paren | exp.Subquery) and isinstance(statement.this, exp.Expression):
        statement = statement.this
    return statement


def _kind(statement: exp.Expression) -> str:
    name = statement.this if isinstance(statement, exp.Command) and isinstance(statement.this, str) else statement.key
    return f"{str(name).upper()}"


def _objection_to(node: exp.Expression) -> str | None:
    if isinstance(node, _WRITES) and not isinstance(node, _READS):
        return f"The query contains {_kind(node)}, which may change something."
    if isinstance(node, exp.Lock) and node.args.get("update"):
        return "The query locks rows (FOR UPDATE); leave that out."
    if isinstance(node, exp.SessionParameter | exp.Parameter) and isinstance(node.parent, exp.PropertyEQ):
        return "The query assigns a variable; leave that out."
    if isinstance(node, exp.PropertyEQ):
        return "The query assigns a variable; leave that out."
    if isinstance(node, exp.Table) and _is_file(node):
        return f"The query reads the file {node.name!r}; only tables may be read."
    return _objection_to_function(node)


def _is_file(table: exp.Table) -> bool:
    """DuckDB and Spark read a file where its path stands as a table."""
    name = table.name
    if isinstance(table.this, exp.Literal):
        return True
    return table.this is not None and any(part in name for part in ("://", "/", "\\")) or name.lower().endswith(
        (".csv", ".parquet", ".json")
    )


def _objection_to_function(node: exp.Expression) -> str | None:
    if isinstance(node, _DANGEROUS_NODES):
        return f"The function {node.key.upper()} is not let through."
    if not isinstance(node, exp.Func):
        return None
    for name in _names(node):
        if name in DANGEROUS:
            return f"The function {name.upper()} is not let through."
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        name = str(node.this).lower() if isinstance(node.this, str) else node.name.lower()
        if name not in HARMLESS or isinstance(node.parent, exp.Dot):
            return f"The function {name.upper()} is unknown here, so that it is not let through."
    return None


def _names(function: exp.Func) -> Iterator[str]:
    if isinstance(function, exp.Anonymous):
        yield function.name.lower()
    else:
        yield from (name.lower() for name in function.sql_names() if name)
        if isinstance(function.this, str):
            yield function.this.lower()
