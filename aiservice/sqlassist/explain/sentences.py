"""A statement as sentences, one for each clause and join."""

from collections.abc import Iterator, Sequence

from sqlglot import exp

from aiservice.sqlassist.explain.facts import in_place, is_aggregate, is_key_pair
from aiservice.sqlassist.explain.phrases import Phrases, joined
from aiservice.sqlassist.explain.showing import shown_name
from aiservice.sqlassist.explain.writes import Writes
from aiservice.sqlassist.names import Resolution

_COMBINED = (
    (exp.Union, "gives the rows of both queries"),
    (exp.Intersect, "gives the rows that are in the results of both queries"),
    (exp.Except, "gives the rows of the first query that are not in the result of the second"),
)
_COMBINED_RESULT = "The combined result"
_SUBTOTALS = (("rollup", "ROLLUP"), ("cube", "CUBE"), ("grouping_sets", "GROUPING SETS"))


def sentences(statement: exp.Expr, names: Resolution, dialect: str) -> Iterator[str]:
    """In the order in which a database works: sources, joins, conditions, groups, columns, order, limit."""
    phrases = Phrases(statement, names, dialect)
    story = _Story(phrases)
    if isinstance(statement, exp.Query | exp.Values):
        yield from story.query(statement, "It")
        return
    for sentence in Writes(phrases).of(statement):
        yield sentence
        yield from story.subqueries()
    inner = statement.args.get("expression")
    if isinstance(inner, exp.Query):
        yield from story.query(inner, "The query in it")


class _Story:
    def __init__(self, phrases: Phrases) -> None:
        self._say = phrases

    def subqueries(self) -> Iterator[str]:
        """The subqueries that the last sentence spoke of."""
        for label, query in self._say.take():
            yield from self.query(query, label.capitalize())

    def query(self, query: exp.Expr, subject: str) -> Iterator[str]:
        with_ = query.args.get("with_")
        if with_ is not None:
            yield from self._ctes(with_)
        if isinstance(query, exp.Subquery):
            yield from self.query(query.this, subject)
            yield from self._ending(query, subject)
        elif isinstance(query, exp.SetOperation):
            yield from self._set_operation(query, subject)
        elif isinstance(query, exp.Select):
            yield from self._select(query, subject)
        else:
            yield f"{subject} gives the rows {self._say.listed(query.expressions)}."

    def _ctes(self, with_: exp.Expr) -> Iterator[str]:
        for cte in with_.expressions:
            name = shown_name(cte.alias)
            is_recursive = with_.args.get("recursive") and any(
                table.name.lower() == cte.alias.lower() for table in cte.this.find_all(exp.Table)
            )
            again = (
                ", which is run again on its own rows until it finds no new ones (recursive)" if is_recursive else ""
            )
            yield f"First, an intermediate result called {name} is made (WITH){again}."
            if isinstance(cte.this, exp.Query):
                yield from self.query(cte.this, f"The intermediate result {name}")
            else:
                yield f"The intermediate result {name} comes from {self._say.sql(cte.this)}."

    def _set_operation(self, query: exp.SetOperation, subject: str) -> Iterator[str]:
        words = next(words for kind, words in _COMBINED if isinstance(query, kind))
        kept = "once each" if query.args.get("distinct") else "duplicates included (ALL)"
        parts = _combined(query)
        name, is_pair = query.key.upper(), len(parts) == 2  # a pair
        count = "two" if is_pair else str(len(parts))
        yield f"{subject} combines {count} queries by {name} and {words if is_pair else _of_all(words)}, {kept}."
        start = "The" if subject == "It" else f"{subject}: the"
        for number, part in enumerate(parts):
            which = ("first query", "second query")[number] if is_pair else f"query {number + 1}"
            yield from self.query(part, f"{start} {which} of the {name}")
        yield from self._ending(query, _COMBINED_RESULT if subject == "It" else f"{subject} as a whole")

    def _select(self, select: exp.Select, subject: str) -> Iterator[str]:
        for sentence in self._clauses(select, subject):
            yield sentence
            yield from self.subqueries()
        yield from self._ending(select, subject)

    def _clauses(self, select: exp.Select, subject: str) -> Iterator[str]:
        say, args = self._say, select.args
        if args.get("from_") is not None:
            yield f"{subject} reads {self._source(args['from_'].this)}."
            yield from self._joins(args["from_"].this, subject)
        for lateral in args.get("laterals") or ():
            yield f"{subject} adds, for each row, {self._source(lateral)}."
        yield from self._joins(select, subject)
        if args.get("where") is not None:
            yield f"{subject} keeps only the rows where {say.of(args['where'].this)}."
        group = args.get("group")
        if group is not None:
            yield self._group(group, select, subject)
        if args.get("having") is not None:
            yield f"{subject} keeps only the groups where {say.of(args['having'].this)}."
        for window in args.get("windows") or ():
            yield f"The window {shown_name(window.name)} is {say.sql(window)}."
        if args.get("qualify") is not None:
            yield f"{subject} keeps only the rows where, once windows are computed, {say.of(args['qualify'].this)}."
        yield self._returned(select, subject)
        if args.get("into") is not None:
            into = args["into"].this
            name = shown_name(into.name) if isinstance(into, exp.Expr) else "without a name"
            yield f"{subject} would write the result into the new table {name} (INTO). It is not run."

    def _returned(self, select: exp.Select, subject: str) -> str:
        distinct = select.args.get("distinct")
        once = ""
        if distinct is not None:
            on = distinct.args.get("on")
            once = ", each different row once (DISTINCT)"
            if on is not None:
                once = f", only the first row for each {self._say.listed(on.expressions or [on])} (DISTINCT ON)"
        is_filtered = any(select.args.get(name) for name in ("where", "joins", "qualify", "laterals"))
        unit = "row that is left" if is_filtered else "row"
        if select.args.get("group") is not None:
            unit = "group"
        elif any(is_aggregate(node) and _is_own(node, select) for node in select.walk()):
            return f"{subject} returns a single row{once}: {self._columns(select)}."
        if select.args.get("from_") is None:
            return f"{subject} returns {self._columns(select)}{once}."
        return f"{subject} returns, for each {unit}{once}, {self._columns(select)}."

    def _columns(self, select: exp.Select) -> str:
        return self._say.listed(select.expressions) if select.expressions else "rows without columns"

    def _group(self, group: exp.Expr, select: exp.Select, subject: str) -> str:
        keys = [in_place(one, select) for one in group.expressions]
        words = f"{subject} makes one group of the rows for each different {self._say.listed(keys)}" if keys else ""
        for argument, name in _SUBTOTALS:
            for one in group.args.get(argument) or ():
                listed = self._say.listed(one.expressions) if isinstance(one, exp.Expr) else ""
                words = words or f"{subject} makes groups of the rows"
                words += f", with subtotals by {listed} ({name})" if listed else f", with subtotals ({name})"
        if group.args.get("all"):
            words = (
                f"{subject} makes one group of the rows for each combination of what is not aggregated (GROUP BY ALL)"
            )
        return f"{words or f'{subject} groups the rows'}."

    def _ending(self, query: exp.Expr, subject: str) -> Iterator[str]:
        order, limit, offset = (query.args.get(name) for name in ("order", "limit", "offset"))
        whose = "The result" if subject == "It" else f"{subject}'s result" if "'" not in subject else subject
        whose = subject if subject == _COMBINED_RESULT else whose
        if order is not None:
            keys = [self._key(one, query) for one in order.expressions]
            yield f"{whose} is sorted by {joined(keys)} (ORDER BY)."
            yield from self.subqueries()
        if offset is not None:
            yield f"{whose} leaves out the first {self._rows(offset.expression)} (OFFSET)."
        if limit is not None:
            yield from self._limit(limit, whose, is_sorted=order is not None)
        for lock in query.args.get("locks") or ():
            yield f"The rows are locked: {self._say.sql(lock)}."

    def _limit(self, limit: exp.Expr, whose: str, *, is_sorted: bool) -> Iterator[str]:
        count = limit.args.get("count" if isinstance(limit, exp.Fetch) else "expression")
        options = limit.args.get("limit_options")
        percent = " percent of the" if options is not None and options.args.get("percent") else ""
        ties = ", and those that are equal to the last" if options is not None and options.args.get("with_ties") else ""
        which = "the first" if is_sorted else "at most"
        rows = self._rows(count) if count is not None else "1 row"
        if percent:
            rows = rows.replace(" row", f"{percent} row", 1)
        yield f"{whose} has {which} {rows} only{ties} (LIMIT)."

    def _rows(self, count: exp.Expr) -> str:
        words = self._say.of(count)
        return f"{words} row" if words == "1" else f"{words} rows"

    def _key(self, node: exp.Expr, query: exp.Expr) -> str:
        if not isinstance(node, exp.Ordered):
            return self._say.of(node)
        direction = "descending, the greatest first" if node.args.get("desc") else "ascending, the smallest first"
        direction += self._say.nulls(node)
        place = node.this
        if isinstance(place, exp.Literal) and isinstance(query, exp.Select):
            place = in_place(place, query)
        elif isinstance(place, exp.Literal):
            return f"column {self._say.of(place)} ({direction})"
        return f"{self._say.of(place)} ({direction})"

    def _joins(self, holder: exp.Expr, subject: str) -> Iterator[str]:
        for join in holder.args.get("joins") or ():
            yield self._join(join, subject)
            yield from self.subqueries()
            yield from self._joins(join.this, subject)

    def _source(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            words = self._say.table(node)
            if node.args.get("sample") is not None:
                words = f"a sample ({self._say.sql(node.args['sample'])}) of {words}"
            return f"{words} after a {self._say.sql(node.args['pivots'][0])}" if node.args.get("pivots") else words
        inner = node.this if isinstance(node, exp.Lateral) else node
        if isinstance(inner, exp.Subquery) and isinstance(inner.this, exp.Table):
            inner = inner.this
            return self._say.table(inner) if isinstance(inner, exp.Table) else ""
        words = self._say.of(inner.this if isinstance(inner, exp.Table) else inner)
        return f"{words}, called {shown_name(node.alias)}" if node.alias else words

    def _join(self, join: exp.Join, subject: str) -> str:
        source = self._source(join.this)
        side, kind, method = (str(join.args.get(name) or "").upper() for name in ("side", "kind", "method"))
        name = join.this.alias_or_name
        other = shown_name(name) if name else "the other side"
        link = self._link(join, method)
        if kind in ("SEMI", "ANTI") or side in ("SEMI", "ANTI"):
            which = "no row" if "ANTI" in (kind, side) else "a row"
            return f"{subject} keeps only the rows that match {which} of {source}{link} ({kind or side} join)."
        if isinstance(join.this, exp.Lateral | exp.Unnest):
            kept = "; rows for which it gives nothing stay" if side == "LEFT" or join.args.get("outer") else ""
            return f"{subject} adds, for each row, {source}{link}{kept}."
        if not link and kind != "CROSS" and _is_linked_below(join):
            return f"{subject} also reads {source}; the conditions (WHERE) say which rows of it belong together."
        if not link:
            return f"{subject} combines every row so far with every row of {source} (cross join)."
        kept = {
            "": "only rows with a match on both sides stay (inner join)",
            "LEFT": f"rows without a match stay, with NULL in the columns of {other} (left join)",
            "RIGHT": f"rows of {other} without a match stay too, with NULL in the other columns, "
            f"and other rows without one are left out (right join)",
            "FULL": "rows of both sides without a match stay, with NULL in the columns of the other side (full join)",
        }.get(side, f"{side.lower()} join")
        return f"{subject} joins {source}{link}; {kept}."

    def _link(self, join: exp.Join, method: str) -> str:
        using, condition = join.args.get("using"), join.args.get("on")
        if using:
            same: Sequence[str] = [shown_name(part.name) for part in using]
            return f" on the same {joined(same)} in both (USING)"
        if isinstance(condition, exp.Boolean) and condition.this:
            return ""
        if condition is not None:
            return f" where {self._say.of(condition)}"
        return " where all columns of the same name are equal (NATURAL)" if method == "NATURAL" else ""


def _is_linked_below(join: exp.Join) -> bool:
    """Whether a WHERE has to do what ON does for others."""
    where = join.parent.args.get("where") if join.parent is not None else None
    return where is not None and any(is_key_pair(node) for node in where.walk())


def _combined(query: exp.SetOperation) -> Sequence[exp.Expr]:
    """The queries of a ladder of the same set operation; what differs from it on the way is one of them."""
    parts: list[exp.Expr] = [query.expression]
    left = query.this
    while (
        not isinstance(query, exp.Except)
        and type(left) is type(query)
        and left.args.get("distinct") == query.args.get("distinct")
        and not any(left.args.get(name) for name in ("with_", "order", "limit", "offset"))
    ):
        parts.append(left.expression)
        left = left.this
    return [left, *reversed(parts)]


def _of_all(words: str) -> str:
    return words.replace("of both queries", "of all of them")


def _is_own(node: exp.Expr, select: exp.Select) -> bool:
    """Whether an aggregate is the SELECT's own: not a subquery's, and not one over a window."""
    return node.find_ancestor(exp.Select) is select and not isinstance(node.find_ancestor(exp.Window), exp.Window)
