"""The commands: parse, call, print. No policy of its own.

`serve` and `run` start the processes; `keys`, `models`, `usage` and `migrate` work on the data of this machine without
the service, also beside a running one; `doctor` says what is missing. Each command is a file that is loaded only when
it is called, so that `serve` starts without the others' imports.

An error of the service (`AIServiceError`) becomes one line on standard error: exit code 2 where the start is refused
(a wrong setting, a port in use), 1 otherwise. Results go to standard output, everything said beside them to standard
error.
"""

from aiservice.cli.group import main

__all__ = ["main"]
