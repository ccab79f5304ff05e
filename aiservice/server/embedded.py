"""The embedded engine's own process: llama.cpp on a unix socket, through xllamacpp.

Run as `python -m aiservice.server.embedded`; the supervisor gives everything on the command line, so that this process
loads nothing of the service but its lifeline.
"""

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import xllamacpp  # type: ignore[import-untyped]

from aiservice.server.lifeline import die_with


def main(arguments: Sequence[str] | None = None) -> None:
    """Loads the model and answers until SIGTERM, or until the supervisor dies."""
    options = _parser().parse_args(arguments)
    # Ctrl-C reaches the whole group; the supervisor stops this process when the last answer is out.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(options.parent)
    os.umask(0o077)
    # llama.cpp does not replace the socket of a process that was killed.
    options.socket.unlink(missing_ok=True)
    server = xllamacpp.Server(_params(options))
    print(f"listening on {server.listening_address}", flush=True)  # noqa: T201  # into the log file
    while True:
        signal.pause()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aiservice.server.embedded", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process whose death ends this one")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--name", required=True, help="what the model is called")
    parser.add_argument("--socket", type=Path, required=True, help="path that ends in .sock, at most 100 bytes")
    parser.add_argument("--slots", type=int, required=True, help="answers at once")
    parser.add_argument("--context", type=int, required=True, help="tokens, shared by the slots")
    parser.add_argument("--threads", type=int, required=True)
    return parser


def _params(options: argparse.Namespace) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.name}
    params.hostnames = [str(options.socket)]
    params.n_parallel = options.slots
    params.n_ctx = options.context
    params.kv_unified = True
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.use_jinja = True
    params.fit_params = False
    params.cache_ram_mib = 0  # its default lets a prompt cache grow to 8 GiB
    params.offline = True
    params.ui = False
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.verbosity = 1  # errors only; prompts are never logged
    return params


if __name__ == "__main__":
    main()
