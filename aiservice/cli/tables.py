"""How tables look: on a terminal they fit it, in a file or a pipe nothing is cut."""

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 240


def plain_table(first: str, *columns: str) -> Table:
    """A table without a frame; its first column is never broken, long values in the others continue below."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)
