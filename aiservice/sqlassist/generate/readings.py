"""The machine's own readings of a question, each as a statement of the asked dialect."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiservice.sqlassist.case import Case
from aiservice.sqlassist.dialect import Untranslatable, translate
from aiservice.sqlassist.generate.definitions import definitions_of
from aiservice.sqlassist.generate.lexicon import lexicon_of
from aiservice.sqlassist.generate.link import Linker, Mark
from aiservice.sqlassist.generate.parse import TURNS, Parsed, parse
from aiservice.sqlassist.generate.printing import Printer, Unjoined
from aiservice.sqlassist.generate.words import words_of
from aiservice.sqlassist.names import resolve
from aiservice.sqlassist.schema import Schema, index_of

WORDS_MAX = 120
# A sentence that says how texts are to be compared; values are found whatever their case.
_MATCHING = re.compile(r"(?:^|(?<=[.?!;]))\s*match\b[^.?!]*\binsensitiv\w*[^.?!]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of the question, and its statement in the asked dialect."""

    parsed: Parsed
    statement: exp.Expr
    sql: str

    @property
    def is_whole(self) -> bool:
        """Whether every word of the question is accounted for."""
        return not self.parsed.missing and not self.parsed.left


@dataclass(frozen=True, slots=True)
class Readings:
    """All readings of a question, the likeliest first, with its marks."""

    marks: Sequence[Mark]
    readings: Sequence[Reading]
    is_cut: bool = False


def marks_of(question: str, context: str | None, schema: Schema, *, database: str = "") -> Sequence[Mark]:
    """What each word of the question stands for."""
    lexicon = lexicon_of(schema)
    definitions, said = definitions_of(context, lexicon), f"{context or ''} {database}"
    linker = Linker(lexicon, index_of(schema), definitions, context=said)
    return linker.marks(words_of(_MATCHING.sub("", question))[:WORDS_MAX])


def read(case: Case, schema: Schema) -> Readings:
    """The readings that can be said in the dialect."""
    database = case.task.database.name if case.task.database is not None else ""
    marks = marks_of(case.task.query, case.task.context, schema, database=database)
    if len(words_of(case.task.query)) >= WORDS_MAX:
        return Readings(marks, (), is_cut=True)
    return Readings(marks, tuple(_readings(case, schema, marks)))


def _readings(case: Case, schema: Schema, marks: Sequence[Mark]) -> Iterator[Reading]:
    dialect = case.task.dialect
    printer = Printer(schema, keeps_case=case.live is not None and dialect == "postgres")
    seen = set()
    for turn in range(TURNS):
        parsed = parse(lexicon_of(schema), marks, turn)
        if parsed is None:
            continue
        try:
            sql = translate(printer.print(parsed.query), "postgres", dialect)
            statement = sqlglot.parse_one(sql, read=dialect)
        except (Unjoined, Untranslatable, SqlglotError):
            continue
        if sql not in seen and resolve(statement, schema, dialect).is_whole:
            seen.add(sql)
            yield Reading(parsed, statement, sql)
