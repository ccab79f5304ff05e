"""How each dialect says what the others say otherwise: one meaning a row, one way a dialect.

`a0`, `a1` ... stand for the arguments. Where a row has no word for a dialect its own printer is right; `NO` says that
there is no way. SQLite has a printer of its own (`for_sqlite`), as it has hardly a date function by name.
"""

from collections.abc import Mapping

NO = ""
_SUNDAY, _MONDAY = "'19000107'", "'19000101'"

TABLE: Mapping[str, Mapping[str, str]] = {
    # Days of the week: from Sunday 0, Sunday 1, Monday 0, Monday 1.
    "sunday_0": {
        "postgres": "EXTRACT(DOW FROM a0)",
        "mysql": "(DAYOFWEEK(a0) - 1)",
        "tsql": f"(DATEDIFF(DAY, {_SUNDAY}, a0) % 7)",
        "bigquery": "(EXTRACT(DAYOFWEEK FROM a0) - 1)",
        "duckdb": "DAYOFWEEK(a0)",
    },
    "sunday_1": {
        "postgres": "(EXTRACT(DOW FROM a0) + 1)",
        "mysql": "DAYOFWEEK(a0)",
        "tsql": f"(DATEDIFF(DAY, {_SUNDAY}, a0) % 7 + 1)",
        "bigquery": "EXTRACT(DAYOFWEEK FROM a0)",
        "duckdb": "(DAYOFWEEK(a0) + 1)",
    },
    "monday_0": {
        "postgres": "(EXTRACT(ISODOW FROM a0) - 1)",
        "mysql": "WEEKDAY(a0)",
        "tsql": f"(DATEDIFF(DAY, {_MONDAY}, a0) % 7)",
        "bigquery": "MOD(EXTRACT(DAYOFWEEK FROM a0) + 5, 7)",
        "duckdb": "(ISODOW(a0) - 1)",
    },
    "monday_1": {
        "postgres": "EXTRACT(ISODOW FROM a0)",
        "mysql": "(WEEKDAY(a0) + 1)",
        "tsql": f"(DATEDIFF(DAY, {_MONDAY}, a0) % 7 + 1)",
        "bigquery": "(MOD(EXTRACT(DAYOFWEEK FROM a0) + 5, 7) + 1)",
        "duckdb": "ISODOW(a0)",
    },
    "iso_week": {
        "postgres": "EXTRACT(WEEK FROM a0)",
        "mysql": "WEEK(a0, 3)",
        "tsql": "DATEPART(ISO_WEEK, a0)",
        "bigquery": "EXTRACT(ISOWEEK FROM a0)",
        "duckdb": "WEEKOFYEAR(a0)",
    },
    "quarter": {
        "postgres": "EXTRACT(QUARTER FROM a0)",
        "mysql": "QUARTER(a0)",
        "tsql": "DATEPART(QUARTER, a0)",
        "bigquery": "EXTRACT(QUARTER FROM a0)",
        "duckdb": "QUARTER(a0)",
    },
    "epoch": {
        "postgres": "EXTRACT(EPOCH FROM a0)",
        "mysql": "UNIX_TIMESTAMP(a0)",
        "tsql": "DATEDIFF_BIG(SECOND, '19700101', a0)",
        "bigquery": "UNIX_SECONDS(CAST(a0 AS TIMESTAMP))",
        "duckdb": "EPOCH(a0)",
    },
    "now": {
        "postgres": "CURRENT_TIMESTAMP",
        "mysql": "CURRENT_TIMESTAMP()",
        "tsql": "GETDATE()",
        "bigquery": "CURRENT_TIMESTAMP()",
        "duckdb": "CURRENT_TIMESTAMP",
    },
    "today": {"tsql": "CAST(GETDATE() AS DATE)"},
    "date_of": {"tsql": "CAST(a0 AS DATE)", "postgres": "CAST(a0 AS DATE)", "bigquery": "CAST(a0 AS DATE)"},
    "parsed_date": {"tsql": "CAST(a0 AS DATE)"},
    "parsed_time": {"tsql": "CAST(a0 AS DATETIME2)"},
    "from_parts": {
        "postgres": "MAKE_DATE(a0, a1, a2)",
        "mysql": "STR_TO_DATE(CONCAT_WS('-', a0, a1, a2), '%Y-%m-%d')",
        "tsql": "DATEFROMPARTS(a0, a1, a2)",
        "bigquery": "DATE(a0, a1, a2)",
        "duckdb": "MAKE_DATE(a0, a1, a2)",
    },
    # The beginning of the unit that a moment is in.
    "begin_year": {"mysql": "MAKEDATE(YEAR(a0), 1)", "tsql": "DATEFROMPARTS(YEAR(a0), 1, 1)"},
    "begin_quarter": {
        "mysql": "STR_TO_DATE(CONCAT_WS('-', YEAR(a0), 3 * QUARTER(a0) - 2, 1), '%Y-%m-%d')",
        "tsql": "DATEFROMPARTS(YEAR(a0), 3 * DATEPART(QUARTER, a0) - 2, 1)",
    },
    "begin_month": {
        "mysql": "CAST(DATE_FORMAT(a0, '%Y-%m-01') AS DATE)",
        "tsql": "DATEFROMPARTS(YEAR(a0), MONTH(a0), 1)",
    },
    "begin_monday": {
        "postgres": "DATE_TRUNC('WEEK', a0)",
        "mysql": "DATE_SUB(DATE(a0), INTERVAL (WEEKDAY(a0)) DAY)",
        "tsql": f"DATEADD(DAY, -(DATEDIFF(DAY, {_MONDAY}, a0) % 7), CAST(a0 AS DATE))",
        "bigquery": "DATE_TRUNC(CAST(a0 AS DATE), ISOWEEK)",
        "duckdb": "DATE_TRUNC('WEEK', a0)",
    },
    "begin_sunday": {
        "postgres": "(DATE_TRUNC('WEEK', a0 + INTERVAL '1 DAY') - INTERVAL '1 DAY')",
        "mysql": "DATE_SUB(DATE(a0), INTERVAL (DAYOFWEEK(a0) - 1) DAY)",
        "tsql": f"DATEADD(DAY, -(DATEDIFF(DAY, {_SUNDAY}, a0) % 7), CAST(a0 AS DATE))",
        "bigquery": "DATE_TRUNC(CAST(a0 AS DATE), WEEK)",
        "duckdb": "(DATE_TRUNC('WEEK', a0 + INTERVAL 1 DAY) - INTERVAL 1 DAY)",
    },
    "begin_day": {"mysql": "DATE(a0)", "tsql": "CAST(a0 AS DATE)"},
    "begin_hour": {
        "mysql": "CAST(DATE_FORMAT(a0, '%Y-%m-%d %H:00:00') AS DATETIME)",
        "tsql": "DATEADD(HOUR, DATEDIFF(HOUR, 0, a0), 0)",
    },
    "begin_minute": {
        "mysql": "CAST(DATE_FORMAT(a0, '%Y-%m-%d %H:%i:00') AS DATETIME)",
        "tsql": "DATEADD(MINUTE, DATEDIFF(MINUTE, 0, a0), 0)",
    },
    # From a1 to a0: units begun, and whole ones gone by.
    "between_year": {
        "postgres": "(EXTRACT(YEAR FROM a0) - EXTRACT(YEAR FROM a1))",
        "mysql": "(YEAR(a0) - YEAR(a1))",
        "tsql": "DATEDIFF(YEAR, a1, a0)",
        "bigquery": "DATE_DIFF(CAST(a0 AS DATE), CAST(a1 AS DATE), YEAR)",
        "duckdb": "DATE_DIFF('YEAR', a1, a0)",
    },
    "between_month": {
        "postgres": "((EXTRACT(YEAR FROM a0) - EXTRACT(YEAR FROM a1)) * 12 + EXTRACT(MONTH FROM a0)"
        " - EXTRACT(MONTH FROM a1))",
        "mysql": "PERIOD_DIFF(DATE_FORMAT(a0, '%Y%m'), DATE_FORMAT(a1, '%Y%m'))",
        "tsql": "DATEDIFF(MONTH, a1, a0)",
        "bigquery": "DATE_DIFF(CAST(a0 AS DATE), CAST(a1 AS DATE), MONTH)",
        "duckdb": "DATE_DIFF('MONTH', a1, a0)",
    },
    "between_day": {
        "postgres": "(CAST(a0 AS DATE) - CAST(a1 AS DATE))",
        "mysql": "DATEDIFF(a0, a1)",
        "tsql": "DATEDIFF(DAY, a1, a0)",
        "bigquery": "DATE_DIFF(CAST(a0 AS DATE), CAST(a1 AS DATE), DAY)",
        "duckdb": "DATE_DIFF('DAY', CAST(a1 AS DATE), CAST(a0 AS DATE))",
    },
    "whole_year": {
        "postgres": "EXTRACT(YEAR FROM AGE(a0, a1))",
        "mysql": "TIMESTAMPDIFF(YEAR, a1, a0)",
        "tsql": "(DATEDIFF(YEAR, a1, a0) - IIF(FORMAT(a0, 'MMdd') < FORMAT(a1, 'MMdd'), 1, 0))",
        "bigquery": "(DATE_DIFF(CAST(a0 AS DATE), CAST(a1 AS DATE), YEAR)"
        " - IF(FORMAT_DATE('%m%d', a0) < FORMAT_DATE('%m%d', a1), 1, 0))",
        "duckdb": "(DATE_DIFF('YEAR', CAST(a1 AS TIMESTAMP), CAST(a0 AS TIMESTAMP))"
        " - CASE WHEN STRFTIME(CAST(a0 AS TIMESTAMP), '%m-%d %H:%M:%S')"
        " < STRFTIME(CAST(a1 AS TIMESTAMP), '%m-%d %H:%M:%S')"
        " THEN 1 ELSE 0 END)",
    },
    "whole_month": {
        "postgres": "(EXTRACT(YEAR FROM AGE(a0, a1)) * 12 + EXTRACT(MONTH FROM AGE(a0, a1)))",
        "mysql": "TIMESTAMPDIFF(MONTH, a1, a0)",
        "tsql": "(DATEDIFF(MONTH, a1, a0) - IIF(DAY(a0) < DAY(a1), 1, 0))",
        "bigquery": "(DATE_DIFF(CAST(a0 AS DATE), CAST(a1 AS DATE), MONTH)"
        " - IF(EXTRACT(DAY FROM a0) < EXTRACT(DAY FROM a1), 1, 0))",
        "duckdb": "(DATE_DIFF('MONTH', CAST(a1 AS TIMESTAMP), CAST(a0 AS TIMESTAMP))"
        " - CASE WHEN STRFTIME(CAST(a0 AS TIMESTAMP), '%d %H:%M:%S') < STRFTIME(CAST(a1 AS TIMESTAMP), '%d %H:%M:%S')"
        " THEN 1 ELSE 0 END)",
    },
    "seconds": {
        "postgres": "EXTRACT(EPOCH FROM CAST(a0 AS TIMESTAMP) - CAST(a1 AS TIMESTAMP))",
        "mysql": "TIMESTAMPDIFF(SECOND, a1, a0)",
        "tsql": "DATEDIFF(SECOND, a1, a0)",
        "bigquery": "TIMESTAMP_DIFF(CAST(a0 AS TIMESTAMP), CAST(a1 AS TIMESTAMP), SECOND)",
        "duckdb": "DATE_DIFF('SECOND', CAST(a1 AS TIMESTAMP), CAST(a0 AS TIMESTAMP))",
    },
    # Texts.
    "ilike": {"tsql": "LOWER(a0) LIKE LOWER(a1)"},
    "piece": {
        "mysql": "SUBSTRING_INDEX(SUBSTRING_INDEX(a0, a1, a2), a1, -1)",
        "bigquery": "SPLIT(a0, a1)[SAFE_ORDINAL(a2)]",
        "sqlite": NO,
        "tsql": NO,
    },
    "count_if": {"mysql": "SUM(CASE WHEN a0 THEN 1 ELSE 0 END)"},
    "total": dict.fromkeys(("postgres", "mysql", "tsql", "bigquery", "duckdb"), "COALESCE(SUM(a0), 0.0)"),
    "age": {"mysql": NO, "tsql": NO, "bigquery": NO},
    "matches": {"tsql": NO},
}
