"""Statements that write, described as what they would do."""

from collections.abc import Iterator, Mapping

from sqlglot import exp

from aiservice.sqlassist.explain.phrases import Phrases, joined
from aiservice.sqlassist.explain.showing import shown_name

_DEFINED: Mapping[str, str] = {"CREATE": "create", "DROP": "remove", "ALTER": "change"}


class Writes:
    """Sentences for a statement that is no query."""

    def __init__(self, phrases: Phrases) -> None:
        self._say = phrases

    def of(self, statement: exp.Expr) -> Iterator[str]:
        """What it would do, which rows it concerns, and that it is not run."""
        if isinstance(statement, exp.Insert):
            yield from self._insert(statement)
        elif isinstance(statement, exp.Update):
            yield from self._update(statement)
        elif isinstance(statement, exp.Delete):
            yield f"This statement would delete rows of {self._target(statement)}."
            yield from self._others(statement)
        elif isinstance(statement, exp.Merge):
            yield from self._merge(statement)
        elif isinstance(statement, exp.Create | exp.Drop | exp.Alter | exp.TruncateTable):
            yield from self._definition(statement)
        elif isinstance(statement, exp.Command):
            name = shown_name(str(statement.this).upper())
            yield f"This statement is the command {name}: {self._say.sql(statement)}."
        else:
            yield f"This is the statement {statement.key.upper()}: {self._say.sql(statement)}."
        yield from self._concerned(statement)
        returning = statement.args.get("returning")
        if isinstance(returning, exp.Returning):
            yield f"It would return {self._say.listed(returning.expressions)} of each row that it wrote (RETURNING)."
        yield "It is not run."

    def _target(self, statement: exp.Expr) -> str:
        listed = [one for one in statement.args.get("tables") or () if isinstance(one, exp.Table)]
        target = statement.this
        table = target.find(exp.Table) if isinstance(target, exp.Expr) else None
        listed = [table] if isinstance(table, exp.Table) else listed
        return joined([self._say.table(one) for one in listed]) if listed else "the database"

    def _insert(self, statement: exp.Insert) -> Iterator[str]:
        listed = statement.this.expressions if isinstance(statement.this, exp.Schema) else ()
        columns = f", filling {joined([self._say.name(one) for one in listed])}" if listed else ""
        yield f"This statement would insert rows into {self._target(statement)}{columns}."
        rows = statement.expression
        if isinstance(rows, exp.Values):
            count = len(rows.expressions)
            shown = joined([self._say.of(row) for row in rows.expressions])
            yield f"It has {count} {'row' if count == 1 else 'rows'} of values: {shown}."
        conflict = statement.args.get("conflict")
        if conflict is None:
            return
        keys = [self._say.of(key.this) for key in conflict.args.get("conflict_keys") or ()]
        same = f" (the same {joined(keys)})" if keys else ""
        if conflict.expressions:
            changes = joined([self._change(one) for one in conflict.expressions])
            yield f"Where such a row is there already{same}, it would be changed instead: {changes}."
        else:
            yield f"Where such a row is there already{same}, it would be left as it is."

    def _update(self, statement: exp.Update) -> Iterator[str]:
        changes = joined([self._change(one) for one in statement.expressions])
        yield f"This statement would change rows of {self._target(statement)}: {changes}."
        yield from self._others(statement)

    def _change(self, node: exp.Expr) -> str:
        if isinstance(node, exp.EQ):
            return f"{self._say.of(node.this)} becomes {self._say.of(node.expression)}"
        return self._say.of(node)

    def _others(self, statement: exp.Expr) -> Iterator[str]:
        """The tables that it reads beside the one that it writes."""
        source = statement.args.get("from_")
        nodes = [source.this] if source is not None else []
        nodes += statement.args.get("using") or []
        for node in nodes:
            yield f"It looks rows up in {self._say.of(node)}."
        holders = [statement, statement.this, *nodes]
        for join in (one for holder in holders for one in (holder.args.get("joins") or () if holder else ())):
            condition = join.args.get("on")
            link = f" where {self._say.of(condition)}" if condition is not None else ""
            yield f"It joins {self._say.of(join.this)}{link}."

    def _merge(self, statement: exp.Merge) -> Iterator[str]:
        using, condition = statement.args["using"], statement.args.get("on")
        yield f"This statement would merge the rows of {self._say.of(using)} into {self._target(statement)}."
        if condition is not None:
            yield f"Rows match where {self._say.of(condition)}."
        whens = statement.args.get("whens")
        for when in whens.expressions if whens is not None else ():
            which = "a row that matches" if when.args.get("matched") else "a row that does not match"
            yield f"For {which} it would {self._then(when.args.get('then'))}."

    def _then(self, action: object) -> str:
        if isinstance(action, exp.Update):
            return f"change it: {joined([self._change(one) for one in action.expressions])}"
        if isinstance(action, exp.Insert):
            return f"insert {self._say.of(action.expression)}"
        return self._say.sql(action).strip("`").lower() if isinstance(action, exp.Expr) else "do nothing"

    def _definition(self, statement: exp.Expr) -> Iterator[str]:
        kind = str(statement.args.get("kind") or "table").lower()
        if isinstance(statement, exp.TruncateTable):
            tables = joined([self._say.of(one) for one in statement.expressions])
            yield f"This statement would remove all rows of {tables}."
            return
        yield f"This statement would {_DEFINED[statement.key.upper()]} the {kind} {self._target(statement)}."
        schema = statement.this
        if isinstance(statement, exp.Create) and isinstance(schema, exp.Schema):
            columns = [one for one in schema.expressions if isinstance(one, exp.ColumnDef)]
            if columns:
                yield f"It has the columns {joined([self._defined(one) for one in columns])}."
        for action in statement.args.get("actions") or ():
            yield f"The change: {self._say.sql(action)}."

    def _defined(self, column: exp.ColumnDef) -> str:
        kind = column.args.get("kind")
        return f"{shown_name(column.name)} ({self._say.sql(kind).strip('`')})" if kind is not None else column.name

    def _concerned(self, statement: exp.Expr) -> Iterator[str]:
        where = statement.args.get("where")
        if where is not None:
            yield f"It concerns the rows where {self._say.of(where.this)}."
        elif isinstance(statement, exp.Delete | exp.Update):
            yield "It has no condition (WHERE): all rows are concerned."
