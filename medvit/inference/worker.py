"""A second process that runs the model endpoints under load.

A Python process runs one thread at a time. In the process that serves the pages, a forward pass competes with
page requests for the interpreter lock at each of its hundreds of operations, and slows both.
"""

import gc
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import traceback
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

import torch

from medvit.errors import MedvitError
from medvit.inference import service
from medvit.inference.registry import Registry
from medvit.memory import return_memory_regularly
from medvit.slow_imports import import_slow_libraries

START_SECONDS = 120  # longest start of the process on a busy machine
CALL_SECONDS = 120  # longest call on a busy machine
SWITCH_SECONDS = 5e-4  # thread switch interval, so that a forward pass waits less; Python's default is 5e-3


class Worker:
    """Runs the endpoints of `medvit.inference.service`. Thread-safe.

    Single calls run in this process. When a second call arrives while the first is running, a worker process
    is started; once it is ready, it runs all calls.
    """

    def __init__(self, registry: Registry):
        self.registry = registry
        self._lock = threading.Lock()
        self._calls = 0  # running now
        self._process: _Process | None = None
        self._crashed = False  # the last process died: its requests must not run in this process

    def start(self) -> None:
        """Start the process, let it load every model, and wait until it is ready."""
        with self._lock:
            self._process = _Process(self.registry, preload=True)
        with suppress(OSError, TimeoutError):  # without a process, calls run in this one
            self._process.address.result(START_SECONDS)

    def stop(self) -> None:
        """Kill the process, if there is one."""
        with self._lock:
            process, self._process = self._process, None
        if process:
            process.kill()

    @property
    def pid(self) -> int | None:
        """Process id of the worker process, None while there is none. Waits for a start under way."""
        process = self._process
        if process is None:
            return None
        with suppress(OSError, TimeoutError):
            process.address.result(START_SECONDS)
        return process.pid

    def call(self, endpoint: str, *arguments: Any) -> dict[str, Any]:
        """Run an endpoint; see `medvit.inference.service.call`.

        Raises:
            MedvitError: as there, or the process died.
        """
        with self._lock:
            self._calls += 1
        try:
            process = self._ready_process()
            if process is None:
                return service.call(self.registry, endpoint, *arguments)
            try:
                return process.call(endpoint, *arguments)
            except (EOFError, OSError) as error:
                process.kill()
                raise MedvitError(
                    "The worker process ended while it handled this request. Try again; if it happens again, "
                    "this picture may be the cause."
                ) from error
        finally:
            with self._lock:
                self._calls -= 1

    def _ready_process(self) -> "_Process | None":
        """The process that runs the call; None where there is none yet, or none can be started."""
        with self._lock:
            if self._process and self._process.ended:
                self._process, self._crashed = None, True
            if self._process is None and (self._calls > 1 or self._crashed):
                self._process = _Process(self.registry)
            process = self._process
        if process is None or not (self._crashed or process.address.done()):
            return None
        try:
            process.address.result(START_SECONDS)
        except (OSError, TimeoutError):
            return None
        return process


class _Process:
    """A worker process as its parent sees it; `address` resolves once it is ready."""

    def __init__(self, registry: Registry, preload: bool = False):
        self._key = secrets.token_hex()
        self._settings = {
            "root": str(registry.root.absolute()),
            "model_bytes": registry.model_bytes,
            "preload": preload,
            "models": registry.models,
        }
        self._thread_local = threading.local()
        self._popen: subprocess.Popen | None = None
        self.address: Future[str] = Future()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "medvit.inference.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C stops the server; this process ends with its standard input
            )
            assert self._popen.stdin and self._popen.stdout
            self._popen.stdin.write(json.dumps(self._settings | {"key": self._key}).encode() + b"\n")
            self._popen.stdin.flush()
            address = self._popen.stdout.readline().decode().strip()
            if not address:
                raise OSError("The worker process ended before it was ready.")
        except OSError as error:
            self.address.set_exception(error)
            return
        self.address.set_result(address)
        self._popen.wait()

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def ended(self) -> bool:
        """Whether it was ready once and has ended since."""
        return self._popen is not None and self._popen.poll() is not None and not self.address.exception()

    def kill(self) -> None:
        """Kill it and wait for its end."""
        if self._popen:
            self._popen.kill()
            self._popen.wait()

    def _connect(self) -> Connection:
        """Connect to the process; one that does not answer the handshake is killed, which ends the wait."""
        watchdog = threading.Timer(CALL_SECONDS, self.kill)
        watchdog.start()
        try:
            return Client(self.address.result(), authkey=self._key.encode())
        finally:
            watchdog.cancel()

    def call(self, endpoint: str, *arguments: Any) -> dict[str, Any]:
        """Run an endpoint there, over one connection per calling thread."""
        connection: Connection | None = getattr(self._thread_local, "connection", None)
        if connection is None:
            connection = self._thread_local.connection = self._connect()
        connection.send_bytes(json.dumps([endpoint, *arguments]).encode())
        if not connection.poll(CALL_SECONDS):
            raise TimeoutError("The worker process does not respond.")  # an OSError: it will be replaced
        reply = json.loads(connection.recv_bytes())
        if "user_error" in reply:
            raise MedvitError(reply["user_error"])
        if "internal_error" in reply:
            raise RuntimeError(reply["internal_error"])
        return reply["result"]


def serve(settings: dict[str, Any]) -> None:
    """Run calls until standard input ends. Prints the address to connect to, once."""
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))  # the server keeps half of the cores
    sys.setswitchinterval(SWITCH_SECONDS)
    import_slow_libraries()
    registry = Registry.open(settings["root"], model_bytes=settings["model_bytes"], models=settings["models"])
    if settings["preload"]:
        registry.preload()
    gc.collect()
    gc.freeze()  # everything loaded so far stays; later collections need not traverse it
    return_memory_regularly()
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    with Listener(authkey=settings["key"].encode()) as listener:
        print(listener.address, flush=True)
        while True:
            try:
                connection = listener.accept()
            except (AuthenticationError, EOFError, OSError):
                continue
            threading.Thread(target=_serve_connection, args=(registry, connection), daemon=True).start()


def _serve_connection(registry: Registry, connection: Connection) -> None:
    while True:
        try:
            endpoint, *arguments = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        reply: dict[str, Any]
        try:
            reply = {"result": service.call(registry, endpoint, *arguments)}
        except MedvitError as error:
            reply = {"user_error": str(error)}
        except Exception as error:
            traceback.print_tb(error.__traceback__)
            print(type(error).__name__, file=sys.stderr, flush=True)  # its text may repeat a visitor's input
            reply = {"internal_error": type(error).__name__}
        connection.send_bytes(json.dumps(reply).encode())


def _exit_at_end_of_input() -> None:
    sys.stdin.buffer.read()
    shutil.rmtree(get_temp_dir(), ignore_errors=True)  # the listener's socket; os._exit skips its clean-up
    os._exit(0)


if __name__ == "__main__":
    serve(json.loads(sys.stdin.buffer.readline()))
