#!/bin/sh
# Writes the hash locks anew from pyproject.toml. Needs uv; it is used for nothing else.
# They hold names, versions and hashes, and no address. Each contains the one before it, pin for pin.
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "uv is needed to write the locks: run 'pip install uv' first." >&2; exit 1; }

# excluded.txt: what the models' carriers ask for and the service does without (docs/decisions/0005, 0014).
compile() {
    uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --excludes requirements/excluded.txt --extra embedded --group build "$@"
}
compile -o requirements/run.txt
compile --group dev -c requirements/run.txt -o requirements/dev.txt
compile --group dev --group clients -c requirements/dev.txt --overrides requirements/overrides.txt \
    -o requirements/clients.txt
! grep -nE '(https?|file)://|--(index|find-links|extra-index)' requirements/run.txt requirements/dev.txt requirements/clients.txt
