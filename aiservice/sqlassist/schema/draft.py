"""A table while its statements are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from aiservice.sqlassist.schema.model import Column, ForeignKey, Table


@dataclass(slots=True)
class Draft:
    """Columns by their name in lower case; the last word about each thing holds."""

    name: str
    columns: dict[str, Column] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = field(default_factory=list)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    indexes: list[tuple[str, ...]] = field(default_factory=list)
    comment: str = ""

    def inherit(self, other: "Draft", names: Sequence[str] = ()) -> None:
        """The columns of another table, all or those named."""
        for name, column in other.columns.items():
            if not names or name in names:
                self.columns.setdefault(name, column)

    def table(self) -> Table:
        """What was read; a column of the primary key is never NULL."""
        key = {name.lower() for name in self.primary_key}
        return Table(
            self.name,
            tuple(
                replace(column, is_nullable=False) if name in key and column.is_nullable else column
                for name, column in self.columns.items()
            ),
            self._spelled(self.primary_key),
            tuple(dict.fromkeys(map(self._spelled, self.unique))),
            tuple(replace(key, columns=self._spelled(key.columns)) for key in self.foreign_keys),
            tuple(dict.fromkeys(map(self._spelled, self.indexes))),
            self.comment,
        )

    def _spelled(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """As the columns are spelled where they are made."""
        found = (self.columns.get(name.lower()) for name in names)
        return tuple(name if known is None else known.name for name, known in zip(names, found, strict=True))
