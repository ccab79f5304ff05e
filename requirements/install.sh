#!/bin/sh
# Makes .venv from a hash lock: `requirements/install.sh run` or `dev`. PYTHON names another interpreter.
# A stamp in .venv names the lock that is installed, so that a second run does nothing.
set -eu
cd "$(dirname "$0")/.."
ring=$1
lock=requirements/$ring.txt
python_min='(3, 11)'

stop() { printf '%s\n' "$1" >&2; exit 1; }

stamp=.venv/.$ring-$(cat "$lock" pyproject.toml | cksum | tr ' ' -)
[ -f "$stamp" ] && exit 0

is_new_enough() { "$1" -c "import sys; sys.exit(sys.version_info < $python_min)" 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    without_venv=
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        is_new_enough "$candidate" || continue
        if can_make_venv "$candidate"; then printf '%s' "$candidate"; return; fi
        without_venv=$candidate
    done
    [ -z "$without_venv" ] ||
        stop "$without_venv cannot make a virtual environment: run 'apt-get install python3-venv' (Debian, Ubuntu), then again."
    [ -z "${PYTHON:-}" ] || stop "PYTHON=$PYTHON is not a Python of version 3.11 or newer: name one that is."
    stop "Python 3.11 or newer is needed and none was found: install python3.11 or newer, or name it with PYTHON=/path/to/python3."
}

if ! is_new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    printf 'Making .venv with %s ...\n' "$("$python" --version)"
    "$python" -m venv --clear .venv
fi
printf 'Installing the locked dependencies of %s (about a minute the first time) ...\n' "$lock"
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet --quiet "$@"; } # errors only
pip install --require-hashes --no-deps -r "$lock"
pip install --no-deps --no-build-isolation -e .
.venv/bin/python -m compileall -q aiservice
rm -f ".venv/.$ring-"*
[ "$ring" = run ] || rm -f .venv/.run-*
: > "$stamp"
# The dev lock contains the run lock pin for pin.
[ "$ring" = run ] || : > ".venv/.run-$(cat requirements/run.txt pyproject.toml | cksum | tr ' ' -)"
