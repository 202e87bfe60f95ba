"""The medvit demo: python app.py, then open http://127.0.0.1:7860"""

import argparse
import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

# Uploads lie apart from those of other programs; Gradio reads this when it is imported.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="medvit-uploads-")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Statistics of the last 10,000 events, which nobody sees here, were summed up anew after each event.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**12))
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything the app shows lies in checkpoints/
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("MEDVIT_LAZY", "1")  # the first page does not wait for transformers

from medvit import MedvitError, limits, ui
from medvit.inference.registry import Registry
from medvit.inference.service import import_slow_libraries
from medvit.inference.worker import SWITCH_SECONDS, Worker
from medvit.ui.server import hosting


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        "--checkpoints",
        metavar="DIR",
        help="folder of checkpoints, <DIR>/<subset>/<model> [the shipped ones]",
    )
    add(
        "--data-root",
        metavar="DIR",
        help="folder of the .npz archives; without them the examples are drawings "
        "[$MEDVIT_DATA, else ~/.medmnist]",
    )
    add("--host", help="0.0.0.0 lets other machines in [127.0.0.1]")
    add("--port", type=int, help="[the first free one from 7860]")
    add(
        "--auth",
        metavar="USER:PASSWORD",
        help="ask for these first; $MEDVIT_AUTH does the same and is not seen by other users of the machine",
    )
    add(
        "--memory",
        type=float,
        default=limits.MODEL_BYTES / 2**30,
        metavar="GB",
        help="for models; beyond it, those not asked for longest are unloaded; the process that answers the "
        "API under load may take as much again [%(default)g]",
    )
    add("--warm", action="store_true", help="load the models before the first page, not when first asked for")
    add("--mcp", action="store_true", help="serve the API as MCP tools too (needs gradio[mcp])")
    add(
        "--log",
        action="store_true",
        default=hosting.in_space(),
        help="one JSON line a request on stderr, without file names; always so in a Space",
    )
    return parser.parse_args()


def main() -> None:
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    atexit.register(shutil.rmtree, uploads, ignore_errors=True)
    args = parse()
    sys.setswitchinterval(SWITCH_SECONDS)
    # An event, as an exception out of a signal handler can get lost in the middle of an import.
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        auth = hosting.credentials(args.auth or os.environ.pop("MEDVIT_AUTH", None))
        if args.mcp:
            hosting.check_mcp(auth)
        registry = Registry.open(args.checkpoints, args.data_root, int(args.memory * 2**30))
    except MedvitError as error:
        sys.exit(f"app.py: {error}")
    for problem in registry.problems.values():
        print(f"app.py: left out: {problem}", file=sys.stderr)
    hosting.declare_gpu()
    worker = Worker(registry)
    if args.warm:
        registry.warm()
        worker.start()
    demo = ui.build(registry, worker.ask)
    try:
        demo.launch(
            server_name=args.host,
            server_port=args.port,
            auth=auth,
            mcp_server=args.mcp,
            prevent_thread_lock=True,
            **ui.launch_options(uploads, args.log),
        )
    except OSError:  # of Gradio, and worded for programmers
        port = f"port {args.port}" if args.port else "every port from 7860"
        sys.exit(
            f"app.py: {args.host or '127.0.0.1'} cannot be served: {port} is taken, or this machine has no "
            "such address. Name another with --port or --host."
        )
    import_slow_libraries()  # the first page is out
    gc.collect()
    gc.freeze()  # what is there by now stays, and need not be looked through again
    stopped.wait()
    demo.close(verbose=False)


if __name__ == "__main__":
    main()
