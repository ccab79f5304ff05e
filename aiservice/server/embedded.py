"""The embedded engine's own process: llama.cpp on unix sockets, through xllamacpp.

One process for both models: two of them would take 57 MB more. The one for embeddings comes after the other, which it
must never hold up: where it cannot be had the log says why, and chat goes on.

Run as `python -m aiservice.server.embedded`; the supervisor gives everything on the command line, so that this process
loads nothing of the service but its lifeline.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import xllamacpp  # type: ignore[import-untyped]

from aiservice.core.lifeline import die_with

EMBEDDING_SLOTS = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Loads the models and answers until SIGTERM, or until the supervisor dies."""
    options = _parser().parse_args(arguments)
    # Ctrl-C reaches the whole group; the supervisor stops this process when the last answer is out.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(options.parent)
    os.umask(0o077)
    # llama.cpp does not replace the socket of a process that was killed.
    options.socket.unlink(missing_ok=True)
    if options.embedding_model is not None:
        options.embedding_socket.unlink(missing_ok=True)
    server = xllamacpp.Server(_chat_params(options))
    _say(f"listening on {server.listening_address}")
    # Kept: a server ends with its last reference.
    embedding_server = _embedding_server(options) if options.embedding_model is not None else None
    _say("no embeddings" if embedding_server is None else f"listening on {embedding_server.listening_address}")
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
    parser.add_argument("--embedding-model", type=Path, help="GGUF file; without it there are no embeddings")
    parser.add_argument("--embedding-source", type=Path, help="folder from which that file is written if it is missing")
    parser.add_argument("--embedding-name", help="what that model is called")
    parser.add_argument("--embedding-socket", type=Path, help="as --socket")
    parser.add_argument("--embedding-context", type=int, help="tokens of a text, at most")
    return parser


def _embedding_server(options: argparse.Namespace) -> xllamacpp.Server | None:
    if options.embedding_source is not None and not options.embedding_model.exists():
        where = {"parent": os.getpid(), "source": options.embedding_source, "target": options.embedding_model}
        command = [sys.executable, "-m", "aiservice.server.minilm", *(f"--{key}={where[key]}" for key in where)]
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603  # the command is ours
            _say("the embedding model could not be written; the lines above say why")
            return None
    try:
        return xllamacpp.Server(_embedding_params(options))
    except RuntimeError as error:
        _say(f"the embedding model {options.embedding_model} cannot be served: {error}")
        return None


def _chat_params(options: argparse.Namespace) -> xllamacpp.CommonParams:
    params = _params(options.model, options.name, options.socket, threads=options.threads)
    params.n_parallel = options.slots
    params.n_ctx = options.context
    params.use_jinja = True
    return params


def _embedding_params(options: argparse.Namespace) -> xllamacpp.CommonParams:
    name, socket = options.embedding_name, options.embedding_socket
    params = _params(options.embedding_model, name, socket, threads=options.threads)
    params.embedding = True
    params.n_parallel = EMBEDDING_SLOTS
    params.n_ctx = EMBEDDING_SLOTS * options.embedding_context
    # A text has to fit into one step.
    params.n_batch = params.n_ubatch = options.embedding_context
    return params


def _params(model: Path, name: str, socket: Path, *, threads: int) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {name}
    params.hostnames = [str(socket)]
    params.kv_unified = True
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.fit_params = False
    params.cache_ram_mib = 0  # its default lets a prompt cache grow to 8 GiB
    params.offline = True
    params.ui = False
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.verbosity = 1  # errors only; prompts are never logged
    return params


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # into the log file


if __name__ == "__main__":
    main()
