"""Expressions in words."""

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from aiservice.sqlassist.explain.facts import (
    column_name,
    function_name,
    is_aggregate,
    is_negated,
    number,
    table_name,
    tables_of,
)
from aiservice.sqlassist.explain.showing import shown_name, shown_sql, shown_value
from aiservice.sqlassist.names import Resolution

_COMPARED: Mapping[type[exp.Expr], str] = {
    exp.EQ: "is", exp.NEQ: "is not", exp.GT: "is greater than", exp.GTE: "is at least", exp.LT: "is less than",
    exp.LTE: "is at most", exp.Glob: "matches the pattern", exp.RegexpLike: "matches the pattern",
    exp.RegexpILike: "matches, whatever the case, the pattern", exp.SimilarTo: "matches the pattern",
    exp.NullSafeEQ: "is, NULL counting as a value,", exp.NullSafeNEQ: "is not, NULL counting as a value,",
    exp.ArrayContainsAll: "contains", exp.ArrayOverlaps: "has an element in common with",
}  # fmt: skip
_INFIX: Mapping[type[exp.Expr], str] = {
    exp.Add: "plus", exp.Sub: "minus", exp.Mul: "times", exp.Div: "divided by", exp.Mod: "modulo",
    exp.DPipe: "followed by", exp.IntDiv: "divided, without a rest, by", exp.SafeDivide: "divided by",
    exp.And: "and", exp.Or: "or",
}  # fmt: skip
_AGGREGATED: Mapping[str, str] = {
    "count": "the number (count) of", "sum": "the sum of", "avg": "the average (avg) of",
    "min": "the minimum (min) of", "max": "the maximum (max) of",
}  # fmt: skip


class Phrases:
    """Turns expressions of one statement into words; what it has none for stands as SQL.

    A subquery that has joins, groups or more gets a number instead of words; `take` gives those that were met.
    """

    def __init__(self, statement: exp.Expr, names: Resolution, dialect: str) -> None:
        self._names = names
        self._dialect = dialect
        self._repeated = _repeated(statement, names)
        self._numbered: list[tuple[str, exp.Expr]] = []
        self._count = 0

    def of(self, node: object) -> str:
        """Words for a node; none for what is no node."""
        if not isinstance(node, exp.Expr):
            return "" if node is None else str(node)
        if is_aggregate(node):
            return self._aggregate(node)
        for kind in type(node).__mro__:
            say = _SAYERS.get(kind)
            if say is not None:
                return say(self, node)
        return self.sql(node)

    def listed(self, nodes: Sequence[object]) -> str:
        """`a, b and c`."""
        return joined([self.of(node) for node in nodes])

    def sql(self, node: exp.Expr) -> str:
        """A node as SQL, on one line and cut."""
        return shown_sql(node, self._dialect)

    def take(self) -> Sequence[tuple[str, exp.Expr]]:
        """The subqueries that got a number since the last call."""
        taken, self._numbered = self._numbered, []
        return taken

    def table(self, table: exp.Table) -> str:
        """A table's name, with the name it has in the statement."""
        name = table_name(table, self._names)
        has_alias = table.alias and table.alias.lower() != name.lower()
        return f"{shown_name(name)} (as {shown_name(table.alias)})" if has_alias else shown_name(name)

    def name(self, column: exp.Expr) -> str:
        """A column's name, without its table's."""
        return shown_name(column_name(column, self._names))

    def ordering(self, order: exp.Expr) -> str:
        """The keys of an ORDER BY with their directions."""
        return joined([self._ordered(one) for one in order.expressions])

    def query(self, node: exp.Expr) -> str:
        """A query inside another: in words if it is short, else by a number."""
        inner = node.unnest() if isinstance(node, exp.Subquery) else node
        if isinstance(inner, exp.Select) and _is_short(inner):
            return self._short(inner)
        self._count += 1
        label = f"subquery {self._count}"
        self._numbered.append((label, inner))
        return label

    def _short(self, select: exp.Select) -> str:
        source, where = select.args.get("from_"), select.args.get("where")
        distinct = "distinct " if select.args.get("distinct") is not None else ""
        words = f"{distinct}{self.listed(select.expressions)}"
        if source is not None:
            words += f" from {self.of(source.this)}"
        if where is not None:
            words += f" where {self.of(where.this)}"
        return f"({words})"

    def _ordered(self, node: exp.Expr) -> str:
        if not isinstance(node, exp.Ordered):
            return self.of(node)
        direction = "descending" if node.args.get("desc") else "ascending"
        return f"{self.of(node.this)} ({direction}{self.nulls(node)})"

    def nulls(self, node: exp.Ordered) -> str:
        """Where NULLs stand, if that is said and not as the dialect does it anyhow."""
        tail = node.sql(dialect=self._dialect, comments=False).upper()
        where = next((end for end in ("FIRST", "LAST") if tail.endswith(f"NULLS {end}")), None)
        return f", NULLs {where.lower()}" if where is not None else ""

    def _column(self, node: exp.Expr) -> str:
        assert isinstance(node, exp.Column)
        if id(node) in self._names.texts:
            return shown_value(node.name)
        if isinstance(node.this, exp.Star):
            return f"every column of {shown_name(node.table)}"
        known = self._names.of(node)
        if node.table.upper() == "EXCLUDED":
            return f"the {shown_name(node.name if known is None else known[1].name)} that was to be inserted"
        if known is not None:
            owner = node.table if node.table and known[0].name in self._repeated else known[0].name
            return f"{shown_name(owner)}.{shown_name(known[1].name)}"
        return ".".join(map(shown_name, filter(None, (self._owner(node), node.name))))

    def _owner(self, column: exp.Column) -> str:
        """Whose a column is, where the schema does not know: the table that its qualifier stands for."""
        select = column.find_ancestor(exp.Select)
        owner: str = column.table
        if owner and select is not None and id(column) not in self._names.made:
            for table in select.find_all(exp.Table):
                name = table_name(table, self._names)
                if table.alias.lower() == owner.lower() and name not in self._repeated:
                    return name
        return owner

    def _alias(self, node: exp.Expr) -> str:
        words = self.of(node.this)
        return words if words.endswith(f".{node.alias}") else f"{words} (called {shown_name(node.alias)})"

    def _literal(self, node: exp.Expr) -> str:
        assert isinstance(node, exp.Literal)
        return shown_value(node.name) if node.is_string else number(node)

    def _aggregate(self, node: exp.Expr) -> str:
        name = function_name(node, self._dialect)
        inner = node.expressions[0] if isinstance(node, exp.Anonymous) and node.expressions else node.this
        if isinstance(inner, exp.Star) or (isinstance(node, exp.Count) and isinstance(inner, exp.Literal | None)):
            return f"the number of rows ({name}{f' of {self.of(inner)}' if isinstance(inner, exp.Literal) else ''})"
        if inner is None and not node.expressions:
            return f"the {name}"
        words = _AGGREGATED.get(name, f"the {name} of")
        if isinstance(inner, exp.Distinct):
            return f"{words} distinct {self.listed(inner.expressions)}"
        rest = [one for one in node.iter_expressions() if one is not inner]
        extra = f" (with {self.listed(rest)})" if rest and not isinstance(node, exp.Anonymous) else ""
        condition = " that are not NULL" if isinstance(node, exp.Count) and not isinstance(inner, exp.Case) else ""
        return f"{words} {self.of(inner)}{condition}{extra}"

    def _comparison(self, node: exp.Expr) -> str:
        return f"{self.of(node.this)} {_COMPARED[type(node)]} {self.of(node.expression)}"

    def _chain(self, node: exp.Expr) -> str:
        """`a and b and c`, which the tree has as a ladder of any height."""
        words: list[str] = []
        while type(node) in _INFIX:
            words += [self.of(node.expression), _INFIX[type(node)]]
            node = node.this
        return " ".join((self.of(node), *reversed(words)))

    def _is(self, node: exp.Expr, *, is_flipped: bool = False) -> str:
        verb = "is not" if is_negated(node) != is_flipped else "is"
        return f"{self.of(node.this)} {verb} {self.of(node.expression)}"

    def _like(self, node: exp.Expr, *, is_flipped: bool = False) -> str:
        words = "is not like" if is_negated(node) != is_flipped else "is like"
        pattern, case = node.expression, ", whatever its case," if isinstance(node, exp.ILike) else ""
        hint = _pattern(pattern.name) if isinstance(pattern, exp.Literal) else ""
        return f"{self.of(node.this)}{case} {words} {self.of(pattern)}{hint}"

    def _negation(self, node: exp.Expr) -> str:
        inner = node.this
        if isinstance(inner, exp.Not):
            return self.of(inner.this)
        if isinstance(inner, exp.In):
            return self._within(inner, "is not")
        if isinstance(inner, exp.Exists):
            return self._existence(inner, "no row")
        if isinstance(inner, exp.Is):
            return self._is(inner, is_flipped=True)
        if isinstance(inner, exp.Like | exp.ILike):
            return self._like(inner, is_flipped=True)
        if isinstance(inner, exp.Between):
            return self._between(inner, "is not between")
        return f"it is not so that {self.of(inner)}"

    def _within(self, node: exp.Expr, verb: str = "is") -> str:
        query = node.args.get("query") or node.args.get("field") or node.args.get("unnest")
        if query is not None:
            return f"{self.of(node.this)} {verb} among {self.of(query)}"
        shown = [self.of(one) for one in node.expressions]
        return f"{self.of(node.this)} {verb} one of {', '.join(shown)}"

    def _existence(self, node: exp.Expr, which: str = "at least one row") -> str:
        return f"there is {which} in {self.of(node.this)}"

    def _date(self, node: exp.Expr) -> str:
        """sqlglot puts it around what a function takes a part of, too; there it was not written."""
        is_written = not isinstance(node.parent, exp.Func) or isinstance(node.parent, exp.AggFunc)
        return f"the date of {self.of(node.this)}" if is_written else self.of(node.this)

    def _between(self, node: exp.Expr, words: str = "is between") -> str:
        low, high = self.of(node.args["low"]), self.of(node.args["high"])
        order = ", in either order" if node.args.get("symmetric") else ""
        return f"{self.of(node.this)} {words} {low} and {high} (both included{order})"

    def _case(self, node: exp.Expr) -> str:
        start = f"{self.of(node.this)} is " if node.this is not None else ""
        arms = [f"{self.of(arm.args['true'])} when {start}{self.of(arm.this)}" for arm in node.args.get("ifs") or ()]
        default = node.args.get("default")
        return f"({'; '.join(arms)}; else {'NULL' if default is None else self.of(default)})"

    def _if(self, node: exp.Expr) -> str:
        other = node.args.get("false")
        otherwise = "NULL" if other is None else self.of(other)
        return f"({self.of(node.args.get('true'))} if {self.of(node.this)}, else {otherwise})"

    def _window(self, node: exp.Expr) -> str:
        parts = [self.of(node.this), "computed"]
        if node.args.get("partition_by"):
            parts.append(f"separately for each {self.listed(node.args['partition_by'])}")
        if node.args.get("order") is not None:
            parts.append(f"in the order of {self.ordering(node.args['order'])}")
        if node.args.get("alias") is not None:
            parts.append(f"over the window {shown_name(node.alias)}")
        frame = node.args.get("spec")
        if frame is not None:
            parts.append(f"over the frame {self.sql(frame)}")
        return f"{parts[0]}, {' '.join(parts[1:])}" if len(parts) > 2 else f"{parts[0]}, computed over all rows"

    def _filter(self, node: exp.Expr) -> str:
        return f"{self.of(node.this)}, only of the rows where {self.of(node.expression.this)}"

    def _within_group(self, node: exp.Expr) -> str:
        order = f" in the order of {self.ordering(node.expression)}" if node.args.get("expression") is not None else ""
        return f"{self.of(node.this)}{order}"

    def _call(self, node: exp.Expr) -> str:
        """A function with its arguments in words; one with a format stands as SQL, which spells it as its dialect."""
        if node.args.get("format") is not None or isinstance(node.args.get("expression"), exp.JSONPath):
            return self.sql(node)
        nodes = node.expressions if isinstance(node, exp.Unnest) else node.iter_expressions()
        arguments = [self.of(one) for one in nodes]
        return f"{function_name(node, self._dialect).upper()}({', '.join(filter(None, arguments))})"


def joined(words: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _repeated(statement: exp.Expr, names: Resolution) -> frozenset[str]:
    """The tables that the statement has under several names: their columns need these."""
    aliases: dict[str, set[str]] = {}
    for table in tables_of(statement):
        aliases.setdefault(table_name(table, names), set()).add(table.alias_or_name.lower())
    return frozenset(name for name, found in aliases.items() if len(found) > 1)


def _pattern(pattern: str) -> str:
    """What a simple LIKE pattern means."""
    core = pattern.strip("%")
    if not core or "%" in core or "_" in core or "\\" in core or core == pattern:
        return ""
    if pattern == f"%{core}%":
        return " (contains it)"
    return " (begins with it)" if pattern == f"{core}%" else " (ends with it)" if pattern == f"%{core}" else ""


def _is_short(select: exp.Select) -> bool:
    """One table, a condition at most, and no query inside."""
    known = {"expressions", "from_", "where", "distinct", "kind"}
    if any(value for key, value in select.args.items() if key not in known):
        return False
    source = select.args.get("from_")
    if source is not None and (not isinstance(source.this, exp.Table) or source.this.args.get("joins")):
        return False
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is not None:
        return False
    return len(select.expressions) < 4 and not any(
        isinstance(node, exp.Query) for node in select.walk() if node is not select
    )


_Sayer = Callable[[Phrases, exp.Expr], str]
_SAYERS: Mapping[type, _Sayer] = {
    exp.Alias: Phrases._alias,
    exp.Column: Phrases._column,
    exp.Table: lambda phrases, node: phrases.table(node) if isinstance(node, exp.Table) else "",
    exp.Literal: Phrases._literal,
    exp.Star: lambda _phrases, _node: "every column",
    exp.Null: lambda _phrases, _node: "NULL",
    exp.Boolean: lambda _phrases, node: "true" if node.this else "false",
    exp.Identifier: lambda _phrases, node: shown_name(node.name),
    exp.Var: lambda _phrases, node: shown_name(node.name),
    exp.Neg: lambda phrases, node: f"-{phrases.of(node.this)}",
    exp.Paren: lambda phrases, node: f"({phrases.of(node.this)})",
    exp.Tuple: lambda phrases, node: f"({', '.join(map(phrases.of, node.expressions))})",
    exp.Array: lambda phrases, node: f"[{', '.join(map(phrases.of, node.expressions))}]",
    exp.Distinct: lambda phrases, node: f"distinct {phrases.listed(node.expressions)}",
    exp.Order: lambda phrases, node: f"{phrases.of(node.this)} in the order of {phrases.ordering(node)}",
    exp.Window: Phrases._window,
    exp.Filter: Phrases._filter,
    exp.WithinGroup: Phrases._within_group,
    exp.Case: Phrases._case,
    exp.If: Phrases._if,
    exp.Cast: lambda phrases, node: f"{phrases.of(node.this)} as {node.args['to'].sql(dialect=phrases._dialect)}",
    exp.Interval: lambda phrases, node: f"an interval of {phrases.of(node.this)} {phrases.of(node.args.get('unit'))}",
    exp.Not: Phrases._negation,
    exp.In: Phrases._within,
    exp.Exists: Phrases._existence,
    exp.Any: lambda phrases, node: f"any of {phrases.of(node.this)}",
    exp.All: lambda phrases, node: f"all of {phrases.of(node.this)}",
    exp.Between: Phrases._between,
    exp.Is: Phrases._is,
    exp.Like: Phrases._like,
    exp.ILike: Phrases._like,
    exp.Extract: lambda phrases, node: f"the {phrases.of(node.this).lower()} of {phrases.of(node.expression)}",
    exp.Upper: lambda phrases, node: f"{phrases.of(node.this)} in upper case",
    exp.Lower: lambda phrases, node: f"{phrases.of(node.this)} in lower case",
    exp.Coalesce: lambda phrases, node: (
        f"the first of {phrases.listed([node.this, *node.expressions])} that is not NULL"
    ),
    **dict.fromkeys((exp.TsOrDsToTimestamp, exp.TimeStrToTime), lambda phrases, node: phrases.of(node.this)),
    exp.TsOrDsToDate: Phrases._date,
    exp.CurrentDate: lambda _phrases, _node: "the current date",
    exp.CurrentTimestamp: lambda _phrases, _node: "the current time",
    exp.Query: Phrases.query,
    exp.Func: Phrases._call,
    **dict.fromkeys(_COMPARED, Phrases._comparison),
    **dict.fromkeys(_INFIX, Phrases._chain),
}
