"""How much of a database's text is looked at: enough to know its words, little enough for 10,000 tables."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aiservice.sqlassist.schema import Column

VALUES_MAX = 40
VALUE_CHARACTERS_MAX = 60
ROWS_MAX = 2_000
COLUMNS_MAX = 400
SAMPLING_S = 2.0


class Sampler:
    """Looks at the first text columns of a database, the values of at most 400 columns, for 2 s at most."""

    def __init__(self, tables: int) -> None:
        self.values_max = VALUES_MAX
        self.rows_max = ROWS_MAX if tables <= 200 else ROWS_MAX // 10
        self._left = COLUMNS_MAX
        self._until_s = time.monotonic() + SAMPLING_S

    def wants(self, column: Column) -> bool:
        """Whether a column's values are looked at; each that is counts."""
        if column.kind not in {"text", "unknown"}:
            return False
        self._left -= 1
        return self._left >= 0 and time.monotonic() < self._until_s

    def kept(self, column: Column, values: Sequence[Any]) -> Column:
        """The column with those of its values that are short texts."""
        texts = [value.strip() for value in values if isinstance(value, str)]
        fit = tuple(dict.fromkeys(text for text in texts if 0 < len(text) <= VALUE_CHARACTERS_MAX))
        return replace(column, values=fit[: self.values_max])
