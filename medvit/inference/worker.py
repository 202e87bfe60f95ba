"""Answers from a process of their own.

An interpreter runs one thread at a time. In the process that serves the pages, a forward pass waits for its
turn at each of its hundreds of operations, and the pages wait for the pass.
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

START_SECONDS = 120  # more than a start takes on a busy machine
ANSWER_SECONDS = 120  # more than an answer takes there
SWITCH_SECONDS = 5e-4  # how long a pass may wait at each turn; 5e-3 by default


class Worker:
    """Answers the questions of `medvit.answers`, safe to be asked from many threads.

    One at a time is answered here. When a second comes while a first is under way, a process for them is
    started, which answers all from when it is ready.
    """

    def __init__(self, registry: Registry):
        self.registry = registry
        self._lock = threading.Lock()
        self._asking = 0
        self._process: _Process | None = None
        self._lost = False  # the last process ended; what did that shall not do it here

    def start(self) -> None:
        """Start the process, let it load every model, and wait for it."""
        self._process = _Process(self.registry, warm=True)
        with suppress(OSError, TimeoutError):  # then there is none, and all is answered here
            self._process.address.result(START_SECONDS)

    def ask(self, question: str, *arguments: Any) -> dict[str, Any]:
        """As `medvit.answers.answer`.

        Raises:
            MedvitError: as there, or the process ended.
        """
        with self._lock:
            self._asking += 1
        try:
            process = self._ready()
            if process is None:
                return service.answer(self.registry, question, *arguments)
            try:
                return process.ask(question, *arguments)
            except (EOFError, OSError) as error:
                process.end()
                raise MedvitError(
                    "The process that answers ended in the middle of this. Try again; if it ends once more, "
                    "this picture may be to blame."
                ) from error
        finally:
            with self._lock:
                self._asking -= 1

    def _ready(self) -> "_Process | None":
        """The process to ask; None where there is none yet, or none that starts."""
        with self._lock:
            if self._process and self._process.ended:
                self._process, self._lost = None, True
            if self._process is None and (self._asking > 1 or self._lost):
                self._process = _Process(self.registry)
            process = self._process
        if process is None or not (self._lost or process.address.done()):
            return None
        try:
            process.address.result(START_SECONDS)
        except (OSError, TimeoutError):
            return None
        return process


class _Process:
    """One life of the process, as seen from outside; `address` is there once it is ready."""

    def __init__(self, registry: Registry, warm: bool = False):
        self._key = secrets.token_hex()
        self._settings = {
            "root": str(registry.root.absolute()),
            "model_bytes": registry.model_bytes,
            "warm": warm,
        }
        self._mine = threading.local()
        self._popen: subprocess.Popen | None = None
        self.address: Future[str] = Future()
        threading.Thread(target=self._live, daemon=True).start()

    def _live(self) -> None:
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "medvit.inference.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the server; this ends when its standard input does
            )
            assert self._popen.stdin and self._popen.stdout
            self._popen.stdin.write(json.dumps(self._settings | {"key": self._key}).encode() + b"\n")
            self._popen.stdin.flush()
            address = self._popen.stdout.readline().decode().strip()
            if not address:
                raise OSError("The process for answers ended before it was ready.")
        except OSError as error:
            self.address.set_exception(error)
            return
        self.address.set_result(address)
        self._popen.wait()

    @property
    def ended(self) -> bool:
        """Whether it was ready once, and is no more."""
        return self._popen is not None and self._popen.poll() is not None and not self.address.exception()

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._popen:
            self._popen.kill()
            self._popen.wait()

    def ask(self, question: str, *arguments: Any) -> dict[str, Any]:
        """Each thread that asks has a line of its own."""
        line: Connection | None = getattr(self._mine, "line", None)
        if line is None:
            line = self._mine.line = Client(self.address.result(), authkey=self._key.encode())
        line.send_bytes(json.dumps([question, *arguments]).encode())
        if not line.poll(ANSWER_SECONDS):
            raise TimeoutError("The process for answers is stuck.")  # an OSError: it will be replaced
        reply = json.loads(line.recv_bytes())
        if "refusal" in reply:
            raise MedvitError(reply["refusal"])
        if "bug" in reply:
            raise RuntimeError(reply["bug"])
        return reply["answer"]


def serve(settings: dict[str, Any]) -> None:
    """Answer until standard input ends. The address to ask at is printed once."""
    # Half of the cores are left to the server.
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    sys.setswitchinterval(SWITCH_SECONDS)
    service.import_slow_libraries()
    registry = Registry.open(settings["root"], model_bytes=settings["model_bytes"])
    if settings["warm"]:
        registry.warm()
    gc.collect()
    gc.freeze()  # what is there by now stays, and need not be looked through again
    threading.Thread(target=_end_with_input, daemon=True).start()
    with Listener(authkey=settings["key"].encode()) as listener:
        print(listener.address, flush=True)
        while True:
            try:
                line = listener.accept()
            except (AuthenticationError, EOFError, OSError):
                continue
            threading.Thread(target=_answer_all, args=(registry, line), daemon=True).start()


def _answer_all(registry: Registry, line: Connection) -> None:
    while True:
        try:
            question, *arguments = json.loads(line.recv_bytes())
        except (EOFError, OSError):
            return
        reply: dict[str, Any]
        try:
            reply = {"answer": service.answer(registry, question, *arguments)}
        except MedvitError as error:
            reply = {"refusal": str(error)}
        except Exception:
            reply = {"bug": traceback.format_exc()}
        line.send_bytes(json.dumps(reply).encode())


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    shutil.rmtree(get_temp_dir(), ignore_errors=True)  # the listener's; what else would delete it is skipped
    os._exit(0)


if __name__ == "__main__":
    serve(json.loads(sys.stdin.buffer.readline()))
