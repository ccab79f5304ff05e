"""What a database is, read from its DDL, from a plain list of tables, or from the database itself."""

from aiservice.sqlassist.schema.ddl import read_schema
from aiservice.sqlassist.schema.keys import with_keys
from aiservice.sqlassist.schema.model import Column, ForeignKey, Kind, Schema, Table
from aiservice.sqlassist.schema.printer import printed
from aiservice.sqlassist.schema.types import kind_of
from aiservice.sqlassist.schema.values import Match, ValueIndex, index_of

__all__ = [
    "Column",
    "ForeignKey",
    "Kind",
    "Match",
    "Schema",
    "Table",
    "ValueIndex",
    "index_of",
    "kind_of",
    "printed",
    "read_schema",
    "with_keys",
]
