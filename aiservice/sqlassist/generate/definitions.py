"""What the context of a task defines: "X refers to a column", "X = formula", "'V' is the name of a thing"."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp

from aiservice.sqlassist import gate
from aiservice.sqlassist.generate.lexicon import Lexicon, Ref, content
from aiservice.sqlassist.generate.words import meaning, words_of

_PARTS = re.compile(r";|\n|(?<=[a-z\)'])\.\s+|,(?=\s*(?:'[^']+' is|\w[\w ]* refers to))")
_SAYS = re.compile(
    r"^\s*(?P<left>.+?)\s+(?:refers?(?: to)?|means?(?: to)?|=|is an?|is the|is|are the|are)\s+(?P<right>.+?)\s*\.?\s*$",
    re.IGNORECASE,
)
_OPERATIONS: Mapping[str, type[exp.Binary]] = {
    "divide": exp.Div,
    "subtract": exp.Sub,
    "add": exp.Add,
    "multiply": exp.Mul,
}
_GLUE = frozenset({"of", "the", "a", "an", "s", "in", "on", "to", "for"})


@dataclass(frozen=True, slots=True)
class Definition:
    """`words` said together stand for `refs`, for a formula, or are a `value` of `refs`."""

    words: tuple[str, ...]
    refs: tuple[Ref, ...] = ()
    value: str = ""
    aggregate: str = ""
    where: exp.Expr | None = field(default=None, compare=False)
    expression: exp.Expr | None = field(default=None, compare=False)

    @property
    def is_columns(self) -> bool:
        return (
            bool(self.refs) and not self.value and not self.aggregate and self.where is None and self.expression is None
        )


def definitions_of(context: str | None, lexicon: Lexicon) -> Sequence[Definition]:
    """The definitions of a text; what it says otherwise is left alone."""
    found: list[Definition] = []
    for part in _PARTS.split(context or ""):
        match = _SAYS.match(part)
        if match is not None and len(part) < 300:
            found += _definition(match["left"].strip(), match["right"].strip(), lexicon)
    return (*found, *_chained(context or "", found))


def _chained(context: str, known: Sequence[Definition]) -> Iterator[Definition]:
    """`V is the full name` where the full name is defined itself."""
    for part in _PARTS.split(context):
        match = _SAYS.match(part)
        if match is None:
            continue
        left = match["left"].strip().strip("'\"")
        said = {
            meaning(word.lower) for word in words_of(match["right"]) if word.kind == "word" and word.lower not in _GLUE
        }
        for one in known:
            if one.is_columns and one.words and set(one.words) == said and left[:1].isupper():
                yield Definition((), one.refs, left)


def _definition(left: str, right: str, lexicon: Lexicon) -> Iterator[Definition]:
    said = tuple(
        dict.fromkeys(meaning(word.lower) for word in words_of(left) if word.kind == "word" and word.lower not in _GLUE)
    )
    quoted = re.fullmatch(r"""['"](.+)['"]""", left)
    columns = tuple(_columns(right, lexicon))
    if columns and not quoted and not (left[:1].isupper() and left[1:2].islower() and _is_value(left)):
        yield Definition(said, columns)
        head = tuple(meaning(word.lower) for word in words_of(re.split(r"\bof\b", left)[0]) if word.kind == "word")
        if head and head != said:
            yield Definition(head, columns)
        return
    formula = None if quoted else _formula(right)
    if formula is not None:
        yield from _formulas(said, *formula, lexicon=lexicon)
        return
    about = re.split(r"\bof\b|\bin\b", right.lower())[0]
    refs = tuple(ref for ref, score in lexicon.columns(content(about.split())) if score >= 1) if about.strip() else ()
    if not refs:
        refs = columns or tuple(ref for ref, score in lexicon.columns(content(right.lower().split())) if score >= 1)
    if refs and (quoted or left[:1].isupper()):
        yield Definition((), refs, quoted[1] if quoted else left)


def _is_value(left: str) -> bool:
    return all(word[:1].isupper() for word in left.split()) and len(left.split()) > 1


def _columns(text: str, lexicon: Lexicon) -> Iterator[Ref]:
    """Every part of a list of columns by its exact name; nothing where one is none."""
    parts = [part.strip() for part in re.split(r",|\band\b", text) if part.strip()]
    found: list[Ref] = []
    for part in parts:
        name = part.rpartition(".")[2].strip('`" ').replace(" ", "_")
        tables = lexicon.schema.tables_with(name)
        if not tables:
            return
        for table in tables:
            column = table.column(name)
            if column is not None:
                found.append(Ref(table.name, column.name))
    yield from found


def _formula(text: str) -> tuple[exp.Expr, exp.Expr | None] | None:
    head, _, tail = re.sub(r"\s+", " ", text).partition(" where ")
    try:
        first = sqlglot.parse_one(head, read="sqlite")
        where = sqlglot.parse_one(tail, read="sqlite") if tail else None
    except gate.UNREADABLE:
        return None
    first = first.transform(_operation)
    if any(part is not None and part.find(exp.Anonymous) for part in (first, where)):
        return None
    return first, where


def _operation(node: exp.Expr) -> exp.Expr:
    """`DIVIDE(a, b)` and the like, as people write formulas."""
    if isinstance(node, exp.Anonymous) and len(node.expressions) == 2:
        left, right = node.expressions
        kind = _OPERATIONS.get(node.name.lower())
        if kind is not None:
            return kind(this=exp.cast(left, "double") if kind is exp.Div else left, expression=right)
    return node


def _formulas(
    said: tuple[str, ...], first: exp.Expr, where: exp.Expr | None, *, lexicon: Lexicon
) -> Iterator[Definition]:
    names = [column.name for part in (first, where) if part is not None for column in part.find_all(exp.Column)]
    if not names or any(not lexicon.schema.tables_with(name) for name in names):
        return
    refs = tuple(
        Ref(table.name, column.name)
        for name in names[:1]
        for table in lexicon.schema.tables_with(name)
        if (column := table.column(name)) is not None
    )
    if isinstance(first, exp.AggFunc) and isinstance(first.this, exp.Column):
        yield Definition(said, refs, aggregate=first.key, where=where)
    elif isinstance(first, exp.Predicate):
        yield Definition(said, refs, where=first if where is None else exp.and_(first, where))
    elif isinstance(first, exp.Column):
        yield Definition(said, refs, where=where)
    else:
        yield Definition(said, refs, where=where, expression=first)
