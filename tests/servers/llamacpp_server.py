"""llama.cpp's own server on a free port and on a socket: `python llamacpp_server.py MODEL SOCKET`.

Prints its address, once the model is loaded, and serves until it is ended.
"""

import signal
import sys

import xllamacpp


def main(model: str, socket: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1", socket]
    params.port = 0
    params.n_parallel = 4
    params.n_ctx = 2_048
    params.kv_unified = True
    # More threads than free cores would spin and slow each other down.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.model_alias = {"smollm2:135m"}
    params.endpoint_slots = True
    params.cache_ram_mib = 0
    params.ui = False
    params.offline = True
    params.fit_params = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    sys.stdout.write(server.listening_address + "\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
