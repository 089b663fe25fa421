"""The embedded model's server, as a program of its own: ``python -P llama.py MODEL``.

Run by its path and with nothing but ``xllamacpp`` to import, so that no file of the folder that is
reviewed is ever taken for a module. Its key is the first line of standard input; its address is the
one line it writes; it ends when standard input does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CONTEXT_TOKENS = 8192


def serve(model: str) -> None:
    """Serve a model file on loopback until standard input ends."""
    import xllamacpp  # noqa: PLC0415 - 100 MB of native code, for this process alone

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {Path(model).stem}
    params.n_ctx = CONTEXT_TOKENS
    # Threads that wait for each other at every token stall when the machine is shared: one writes.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = cores
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [sys.stdin.readline().strip()]
    params.cors_origins = ""
    params.endpoint_slots = False
    params.ui = False
    params.offline = True
    params.verbosity = 0
    server = xllamacpp.Server(params)
    sys.stdout.write(server.listening_address + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # native threads would hold an ordinary exit


if __name__ == "__main__":
    serve(sys.argv[1])
