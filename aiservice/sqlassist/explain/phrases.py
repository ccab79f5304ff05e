"""Expressions in words."""

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from aiservice.sqlassist.explain.facts import column_name, number, table_name
from aiservice.sqlassist.names import Resolution

_COMPARED: Mapping[type[exp.Expression], str] = {
    exp.EQ: "is", exp.NEQ: "is not", exp.GT: "is greater than", exp.GTE: "is at least", exp.LT: "is less than",
    exp.LTE: "is at most", exp.Is: "is", exp.Like: "is like", exp.ILike: "is, whatever its case, like",
    exp.RegexpLike: "matches the pattern", exp.NullSafeEQ: "is (NULL counting as equal)", exp.Glob: "matches",
}  # fmt: skip
_CALCULATED: Mapping[type[exp.Expression], str] = {
    exp.Add: "plus", exp.Sub: "minus", exp.Mul: "times", exp.Div: "divided by", exp.Mod: "modulo",
    exp.DPipe: "followed by", exp.IntDiv: "divided, without rest, by",
}  # fmt: skip
_COUNTED: Mapping[str, str] = {
    "count": "the count of", "sum": "the sum of", "avg": "the average (avg) of", "min": "the minimum (min) of",
    "max": "the maximum (max) of",
}  # fmt: skip
WORDS_MAX = 60


class Phrases:
    """Turns expressions of one statement into words; what it has none for stands as SQL."""

    def __init__(self, names: Resolution, dialect: str) -> None:
        self._names = names
        self._dialect = dialect

    def of(self, node: exp.Expression) -> str:
        for kind, say in _SAYERS:
            if isinstance(node, kind):
                return say(self, node)
        return self._sql(node)

    def listed(self, nodes: Sequence[exp.Expression]) -> str:
        return joined([self.of(node) for node in nodes])

    def _sql(self, node: exp.Expression) -> str:
        return f"`{' '.join(node.sql(dialect=self._dialect).split())}`"

    def column(self, node: exp.Expression) -> str:
        assert isinstance(node, exp.Column)
        known = self._names.of(node)
        if isinstance(node.this, exp.Star):
            return f"every column of {node.table}"
        return (
            f"{known[0].name}.{known[1].name}" if known is not None else ".".join(filter(None, (node.table, node.name)))
        )

    def alias(self, node: exp.Expression) -> str:
        return f"{self.of(node.this)} (called {node.alias})"

    def literal(self, node: exp.Expression) -> str:
        assert isinstance(node, exp.Literal)
        return f"'{node.name}'" if node.is_string else number(node)

    def aggregate(self, node: exp.Expression) -> str:
        name = node.sql_name().lower() if isinstance(node, exp.Func) else node.key
        inner = node.this
        if isinstance(inner, exp.Star):
            return f"the {name} of rows"
        words = _COUNTED.get(name, f"the {name} of")
        if isinstance(inner, exp.Distinct):
            return f"{words} distinct {self.listed(inner.expressions)}"
        return f"{words} {self.of(inner)}" if isinstance(inner, exp.Expression) else self._sql(node)

    def comparison(self, node: exp.Expression) -> str:
        return f"{self.of(node.this)} {_COMPARED[type(node)]} {self.of(node.expression)}"

    def calculation(self, node: exp.Expression) -> str:
        return f"{self.of(node.this)} {_CALCULATED[type(node)]} {self.of(node.expression)}"

    def conjunction(self, node: exp.Expression) -> str:
        word = "and" if isinstance(node, exp.And) else "or"
        return f"{self.of(node.this)} {word} {self.of(node.expression)}"

    def negation(self, node: exp.Expression) -> str:
        inner = node.this
        if isinstance(inner, exp.In):
            return self.within(inner, "is not one of")
        if isinstance(inner, exp.Exists):
            return self.existence(inner, "there is no row in")
        if isinstance(inner, exp.Is):
            return f"{self.of(inner.this)} is not {self.of(inner.expression)}"
        if isinstance(inner, exp.Like | exp.ILike):
            return f"{self.of(inner.this)} is not like {self.of(inner.expression)}"
        if isinstance(inner, exp.Between):
            return f"not ({self.of(inner)})"
        return f"not {self.of(inner)}"

    def within(self, node: exp.Expression, words: str = "is one of") -> str:
        query = node.args.get("query")
        if query is not None:
            return f"{self.of(node.this)} {words} the rows of {self.of(query)}"
        return f"{self.of(node.this)} {words} {self.listed(node.expressions)}"

    def existence(self, node: exp.Expression, words: str = "there is a row in") -> str:
        return f"{words} {self.of(node.this)}"

    def between(self, node: exp.Expression) -> str:
        return f"{self.of(node.this)} is between {self.of(node.args['low'])} and {self.of(node.args['high'])} (both included)"

    def paren(self, node: exp.Expression) -> str:
        return f"({self.of(node.this)})"

    def query(self, node: exp.Expression) -> str:
        """A query inside another: what it gives, from where, and under which conditions."""
        inner = node.unnest() if isinstance(node, exp.Subquery) else node
        if isinstance(inner, exp.SetOperation):
            return f"({self.query(inner.left)}) {inner.key} ({self.query(inner.right)})"
        if not isinstance(inner, exp.Select):
            return self._sql(node)
        parts = [f"the subquery that gives {self.listed(inner.selects)}"]
        tables = [table for table in inner.find_all(exp.Table) if table.parent_select is inner]
        if tables:
            parts.append(f"from {joined([self.table(table) for table in tables])}")
        for key, words in (("where", "where"), ("having", "having")):
            if inner.args.get(key) is not None:
                parts.append(f"{words} {self.of(inner.args[key].this)}")
        group = inner.args.get("group")
        if group is not None:
            parts.append(f"grouped by {self.listed(group.expressions)}")
        if inner.args.get("order") is not None:
            parts.append(f"sorted by {self.ordering(inner.args['order'])}")
        limit = inner.args.get("limit")
        if isinstance(limit, exp.Limit):
            parts.append(f"at most {self.of(limit.expression)} rows")
        return " ".join(parts)

    def table(self, table: exp.Table) -> str:
        name = table_name(table, self._names)
        return f"{name} (as {table.alias})" if table.alias and table.alias.lower() != name.lower() else name

    def ordering(self, order: exp.Expression) -> str:
        words = []
        for one in order.expressions:
            direction = "descending" if one.args.get("desc") else "ascending"
            words.append(f"{self.of(one.this)} {direction}")
        return joined(words)

    def case(self, node: exp.Expression) -> str:
        start = f"{self.of(node.this)} " if node.this is not None else ""
        arms = [f"{self.of(arm.args['true'])} when {start}{self.of(arm.this)}" for arm in node.args.get("ifs") or ()]
        default = node.args.get("default")
        return "; ".join(arms) + (f"; else {self.of(default)}" if default is not None else "; else NULL")

    def window(self, node: exp.Expression) -> str:
        parts = [f"{self.of(node.this)}, computed"]
        if node.args.get("partition_by"):
            parts.append(f"for each {self.listed(node.args['partition_by'])}")
        if node.args.get("order") is not None:
            parts.append(f"in the order of {self.ordering(node.args['order'])}")
        return " ".join(parts) if len(parts) > 1 else f"{parts[0]} over all rows"

    def cast(self, node: exp.Expression) -> str:
        return f"{self.of(node.this)} as {node.args['to'].sql()}"

    def call(self, node: exp.Expression) -> str:
        arguments = [one for one in node.iter_expressions() if not isinstance(one, exp.Var)]
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()  # type: ignore[attr-defined]
        return f"{name.upper()} of {self.listed(arguments)}" if arguments else name.upper()


def joined(words: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


_Sayer = Callable[[Phrases, exp.Expression], str]
_SAYERS: tuple[tuple[type[exp.Expression] | tuple[type[exp.Expression], ...], _Sayer], ...] = (
    (exp.Alias, Phrases.alias),
    (exp.Column, Phrases.column),
    (exp.Literal, Phrases.literal),
    (exp.Star, lambda _phrases, _node: "every column"),
    (exp.Null, lambda _phrases, _node: "NULL"),
    (exp.Boolean, lambda _phrases, node: "true" if node.this else "false"),
    (exp.Window, Phrases.window),
    (exp.Case, Phrases.case),
    (exp.Cast, Phrases.cast),
    (exp.AggFunc, Phrases.aggregate),
    ((exp.And, exp.Or), Phrases.conjunction),
    (exp.Not, Phrases.negation),
    (exp.In, Phrases.within),
    (exp.Exists, Phrases.existence),
    (exp.Between, Phrases.between),
    (tuple(_COMPARED), Phrases.comparison),
    (tuple(_CALCULATED), Phrases.calculation),
    ((exp.Subquery, exp.Select, exp.SetOperation), Phrases.query),
    (exp.Paren, Phrases.paren),
    ((exp.CurrentDate, exp.CurrentTimestamp), lambda _phrases, node: node.key.replace("current", "the current ")),
    (exp.Func, Phrases.call),
)
__all__ = ["Phrases", "column_name", "joined"]
