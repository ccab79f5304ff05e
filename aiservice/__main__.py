"""`python -m aiservice` is the command `aiservice`."""

from aiservice.cli import main

main()
