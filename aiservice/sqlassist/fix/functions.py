"""Functions that nobody has: those whose name is near a known one, and arithmetic written as a call."""

from collections.abc import Mapping

from rapidfuzz.distance import DamerauLevenshtein
from sqlglot import exp

from aiservice.sqlassist.fix.model import Repair, change
from aiservice.sqlassist.functions import DANGEROUS, HARMLESS

_COMMON = (
    "COUNT", "SUM", "AVG", "MIN", "MAX", "COALESCE", "ROUND", "LOWER", "UPPER", "LENGTH", "SUBSTR", "SUBSTRING",
    "CONCAT", "REPLACE", "TRIM", "ABS", "STRFTIME", "DATE", "DATETIME", "JULIANDAY", "ROW_NUMBER", "RANK", "CAST",
    "DENSE_RANK", "NULLIF", "IFNULL", "GROUP_CONCAT", "STRING_AGG", "EXTRACT", "FLOOR", "CEIL",
)  # fmt: skip
_ARITHMETIC: Mapping[str, type[exp.Binary]] = {
    "DIVIDE": exp.Div, "SUBTRACT": exp.Sub, "ADD": exp.Add, "MULTIPLY": exp.Mul, "MINUS": exp.Sub, "PLUS": exp.Add,
}  # fmt: skip
_OTHER_NAMES: Mapping[str, str] = {"AVERAGE": "AVG", "MEAN": "AVG", "LEN": "LENGTH", "CNT": "COUNT"}


def known_functions(repair: Repair, dialect: str) -> Repair:
    """A copy whose functions have names that are known, as far as there is a near one."""
    statement = repair.statement.copy()
    found = Repair(statement, repair.source, repair.changes, repair.cost)
    for node in list(statement.find_all(exp.Anonymous)):
        name = node.name.upper()
        if name in _ARITHMETIC and len(node.expressions) == 2:
            left, right = (one.copy() if isinstance(one, exp.Column | exp.Literal) else exp.paren(one.copy())
                           for one in node.expressions)  # fmt: skip
            other: exp.Expr = exp.Paren(this=_ARITHMETIC[name](this=left, expression=right))
            why = f"{name} is no function; the operator is."
        elif (near := _near(name)) is not None:
            text = f"{near}({', '.join(one.sql(repair.source) for one in node.expressions)})"
            other = exp.maybe_parse(text, dialect=repair.source)
            why = f"There is no function {name}; {near} is near."
        else:
            continue
        before = node.sql(dialect)
        if node is statement:
            return repair
        node.replace(other)
        found = found.edited(statement, change("function", before, other.sql(dialect), why=why), 0.8)
    return found


def _near(name: str) -> str | None:
    """The common function that is a letter or two away; a name that somebody has stays."""
    if name in _OTHER_NAMES:
        return _OTHER_NAMES[name]
    if name.lower() in HARMLESS or name.lower() in DANGEROUS or len(name) < 3:
        return None
    limit = 1 if len(name) <= 4 else 2
    distances = [(DamerauLevenshtein.distance(name, one, score_cutoff=limit), one) for one in _COMMON]
    distance, nearest = min(distances)
    return nearest if distance <= limit else None
