"""Serve the demo: medvit app, then open http://127.0.0.1:7860

Research demo, not for diagnosis.
"""

import argparse
import atexit
import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from medvit import limits
from medvit.argument_types import positive
from medvit.commands.dataset_options import DATA_HELP
from medvit.errors import MedvitError
from medvit.inference.registry import Registry
from medvit.inference.worker import SWITCH_SECONDS, Worker
from medvit.memory import return_memory_regularly
from medvit.slow_imports import huggingface_hub, import_slow_libraries
from medvit.ui.server import hosting
from medvit.ui.server.cleanup import PREFIX
from medvit.ui.server.origins import OriginPolicy

ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Gradio summarises the last 10,000 events after each event; nobody sees the summary here.
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**12),
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit app`."""
    add = parser.add_argument_group("content").add_argument
    add(
        "--checkpoints",
        metavar="DIR",
        help="folder of checkpoints, <DIR>/<subset>/<model> [the shipped ones]",
    )
    add(
        "--model",
        action="append",
        default=[],
        metavar="ID_OR_FOLDER_OR_TIMM_NAME",
        help="any image classifier, beside the checkpoints: a folder or hub id of transformers or timm, or a "
        "name of timm; only a hub id or a name is fetched, only safetensors are read, and no code that comes "
        "with a model is run; may be repeated",
    )
    add(
        "--data",
        action="append",
        default=[],
        metavar="FOLDER",
        help=f"{DATA_HELP}; for the Data tab and the checkpoints that were made with them; may be repeated",
    )
    add(
        "--data-root",
        metavar="DIR",
        help="folder of the .npz archives; without them the examples are synthetic "
        "[$MEDVIT_DATA, else ~/.medmnist]",
    )
    add(
        "--memory",
        type=positive,
        default=limits.MODEL_BYTES / 2**30,
        metavar="GB",
        help="for models; beyond it, the least recently used are unloaded. The worker process, which runs "
        "the API under load, may use as much again [%(default)g]",
    )
    add("--preload", action="store_true", help="load the models before the first page, not at first use")
    add("--mcp", action="store_true", help="serve the API as MCP tools too (needs gradio[mcp])")

    add = parser.add_argument_group("network").add_argument
    add("--host", help="address to listen on; 0.0.0.0 accepts other machines [127.0.0.1]")
    add("--port", type=int, help="[the first free one from 7860]")
    add(
        "--auth",
        metavar="USER:PASSWORD",
        help="require this login; $MEDVIT_AUTH does the same and is hidden from other users of the machine",
    )
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which browsers reach this server, such as app.example.org; localhost, the name of "
        "the machine and IP addresses need no permission; may be repeated",
    )
    add(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="pages that may embed the app and call it, such as https://example.org; may be repeated",
    )
    add("--proxy", action="store_true", help="trust the X-Forwarded-* headers of a reverse proxy in front")
    add("--metrics", action="store_true", help="serve /metrics for Prometheus (needs prometheus-client)")
    add(
        "--log",
        action="store_true",
        default=hosting.in_space(),
        help="one JSON line per request on stderr, without file names; always on in a Space",
    )


def run(args: argparse.Namespace) -> None:
    """Serve the app until SIGINT or SIGTERM.

    Raises:
        MedvitError: an option does not fit, there is no checkpoint, or the address is not available.
    """
    # An event, as an exception from a signal handler can be lost in the middle of an import.
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    sys.setswitchinterval(SWITCH_SECONDS)
    login = hosting.parse_login(args.auth or os.environ.pop("MEDVIT_AUTH", None))
    if args.mcp:
        hosting.check_mcp(login)
    if args.metrics:
        hosting.check_metrics()
    policy = OriginPolicy.of(args.allow_host, args.allow_origin, args.proxy)
    uploads = _set_environment(policy.proxy)
    registry = Registry.open(args.checkpoints, args.data_root, int(args.memory * 2**30), args.model)
    for path in args.data:
        registry.add_pictures(path)
    _go_offline()
    for problem in registry.problems.values():
        print(f"medvit app: left out: {problem}", file=sys.stderr)
    hosting.declare_gpu()
    worker = Worker(registry)
    if args.preload:
        registry.preload()
        worker.start()
    demo = _launch(args, uploads, registry, worker, policy, login)
    import_slow_libraries()  # the first page is out
    gc.collect()
    return_memory_regularly()
    gc.freeze()  # everything loaded so far stays; later collections need not traverse it
    stopped.wait()
    _close(demo, worker)


def _go_offline() -> None:
    """Fetch nothing any more: the models and pictures that the flags name are on this machine."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # for the worker process
    if "huggingface_hub" in sys.modules:  # it has read the environment
        huggingface_hub.constants.HF_HUB_OFFLINE = True


def _launch(
    args: argparse.Namespace,
    uploads: Path,
    registry: Registry,
    worker: Worker,
    policy: OriginPolicy,
    login: tuple[str, str] | None,
) -> Any:
    """Start the server; return its gradio.Blocks."""
    from medvit.ui.server.metrics import Metrics  # imports uvicorn

    ui = importlib.import_module("medvit.ui.app")  # imports Gradio
    demo = ui.build(registry, worker.call)
    metrics = Metrics(registry, worker) if args.metrics else None
    try:
        demo.launch(
            server_name=args.host,
            server_port=args.port,
            auth=login,
            mcp_server=args.mcp,
            prevent_thread_lock=True,
            **ui.launch_options(uploads, policy, args.log, metrics),
        )
    except (OSError, OverflowError) as error:  # Gradio's message is meant for programmers
        port = f"port {args.port}" if args.port else "every port from 7860"
        raise MedvitError(
            f"{args.host or '127.0.0.1'} cannot be served: {port} is taken, or this machine has no such "
            "address. Choose another with --port or --host."
        ) from error
    return demo


def _close(demo: Any, worker: Worker) -> None:
    """Stop the server and end the process, after SHUTDOWN_SECONDS at the latest, whatever still runs."""

    def exit_now() -> None:
        uploads = Path(os.environ["GRADIO_TEMP_DIR"])
        for _ in range(10):  # one may still be written
            shutil.rmtree(uploads, ignore_errors=True)
            if not uploads.exists():
                break
        sys.stdout.flush()
        sys.stderr.flush()
        # Not through the interpreter, which waits for threads or ends them in the middle of torch.
        os._exit(0)

    timer = threading.Timer(limits.SHUTDOWN_SECONDS, exit_now)
    timer.daemon = True
    timer.start()
    worker.stop()
    demo.close(verbose=False)
    exit_now()


def _set_environment(proxy: bool) -> Path:
    """Set the variables that libraries read when they are imported; return the folder of uploads.

    Uploads are kept apart from those of other programs, and deleted at exit.
    """
    uploads = Path(tempfile.mkdtemp(prefix=PREFIX))
    atexit.register(shutil.rmtree, uploads, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["FORWARDED_ALLOW_IPS"] = "*" if proxy else ""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return uploads
