"""`python -m aiservice.sqlassist.live`: opens the database whose address comes on standard input, and reports."""

import sys

from aiservice.core.errors import AIServiceError
from aiservice.sqlassist.live import open_live
from aiservice.sqlassist.live.postgresql import PostgresDatabase
from aiservice.sqlassist.model import Target


def main() -> int:
    """0 with a report on standard output, 1 with the reason on standard error."""
    try:
        with open_live(Target("checked", sys.stdin.readline().strip())) as live:
            schema = live.schema()
            columns = sum(len(table.columns) for table in schema.tables)
            lines = [f"{live.dialect}: {len(schema.tables)} tables and views, {columns} columns"]
            if isinstance(live, PostgresDatabase):
                is_superuser, may_write = live.may_write()
                if is_superuser:
                    raise AIServiceError("The role is a superuser; register one that can only read.")
                if may_write:
                    lines.append("warning: the role may write; register one that can only read")
    except AIServiceError as error:
        sys.stderr.write(f"{error.public}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
