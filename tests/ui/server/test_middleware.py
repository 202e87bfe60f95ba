"""The app on a public address: each known hole is attacked, each promise to a host is checked."""

import errno
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import anyio
import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image
from torch.multiprocessing.reductions import StorageWeakRef

import medvit
from medvit import limits
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.imaging.preprocess import to_tensor
from medvit.inference.batching import RequestBatcher
from medvit.inference.registry import Registry
from medvit.ui.server import hosting, middleware

from .conftest import REPOSITORY, running_app

BOUNDARY = "medvit-test"


@pytest.fixture(scope="module")
def app(trained, tmp_path_factory):
    """(address, log file, folder of uploads) of a logging app over one checkpoint."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        with running_app("--checkpoints", trained, "--log", log=log) as address:
            yield address, log, next(temporary.glob("medvit-*"))
    assert not list(temporary.glob("medvit-*")), "the uploads outlived the server"
    assert "Traceback" not in log.read_text()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "patient-name.png"
    Image.fromarray(synthetic.draw("breastmnist", 3)).save(path)
    return path


def request(address, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def form(files: dict[str, bytes]) -> tuple[bytes, dict[str, str]]:
    parts = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return parts + f"--{BOUNDARY}--\r\n".encode(), kind


def test_health_is_answered(app):
    status, headers, body = request(app[0], "GET", "/healthz")
    assert (status, body) == (200, b"ok")
    assert headers["x-content-type-options"] == "nosniff"


def test_as_many_files_as_allowed_and_no_more(app):
    for count, expected in ((limits.UPLOAD_FILES, 200), (limits.UPLOAD_FILES + 1, 413)):
        body, kind = form({f"{i}.png": b"x" for i in range(count)})
        status, _, answer = request(app[0], "POST", "/gradio_api/upload", body, kind)
        assert status == expected, answer
    assert b"At most" in answer


def test_pictures_do_not_travel_in_json(app):
    data = "data:image/png;base64," + "A" * (limits.BODY_BYTES + 1)
    body = json.dumps({"data": ["breastmnist", "spt_lsa", {"url": data}], "session_hash": "x"})
    status, _, answer = request(
        app[0], "POST", "/gradio_api/queue/join", body, {"Content-Type": "application/json"}
    )
    assert status == 413
    assert b"larger than 2 MB" in answer


@pytest.mark.parametrize("declared", [True, False])
def test_who_sends_far_too_much_still_reads_why(app, declared):
    size = 16 * limits.BODY_BYTES  # more than the buffers between the two hold
    body = (b"A" * limits.MB for _ in range(size // limits.MB))
    headers = {"Content-Length": str(size)} if declared else {}  # without: in chunks
    status, kind, answer = request(app[0], "POST", "/gradio_api/queue/join", body, headers)
    assert (status, kind["connection"]) == (413, "close")
    assert answer == b"The request is larger than 2 MB."


SECRETS = (
    "/etc/passwd",
    str(REPOSITORY / "app.py"),
    str(REPOSITORY / "requirements.txt"),
    "../../../../../../etc/passwd",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "//etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:1/secret",
)
ROUTES = (
    "/gradio_api/file={}", "/file={}", "/gradio_api/file/{}", "/gradio_api/proxy={}", "/static/{}",
    "/assets/{}", "/svelte/{}", "/gradio_api/custom_component/1/client/component/{}", "/theme.css/{}", "/{}",
    "/gradio_api/stream/a/b/1/{}",
)  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_no_path_leads_out(app, route):
    for secret in SECRETS:
        status, _, body = request(app[0], "GET", route.format(secret))
        assert status >= 300, (secret, status)
        assert b"root:" not in body
        assert b"argparse" not in body


def ask(address, image):
    """POST /predict as a program would, with any value for the image; the text of the answer."""
    body = json.dumps({"data": ["breastmnist", "spt_lsa", image]})
    kind = {"Content-Type": "application/json"}
    status, _, answer = request(address, "POST", "/gradio_api/call/predict", body, kind)
    assert status == 200, answer
    event = json.loads(answer)["event_id"]
    return request(address, "GET", f"/gradio_api/call/predict/{event}")[2].decode()


@pytest.mark.parametrize("more", [{"meta": {"_type": "gradio.FileData"}}, {"meta": {"_type": "other"}}, {}])
@pytest.mark.parametrize("path", [*SECRETS, str(REPOSITORY / "docs" / "explore.png"), "/dev/zero"])
def test_no_path_that_a_visitor_names_is_opened(app, path, more):
    answer = ask(app[0], {"path": path} | more)
    assert "Only files that were uploaded" in answer or "Addresses are not fetched" in answer
    assert path not in answer


@pytest.mark.parametrize("sent", [{"path": 5}, {"path": ["/secret"]}, {"path": None, "size": "/secret"}, [5]])
def test_what_is_no_file_at_all_is_not_repeated(app, sent):
    assert "event: error" in ask(app[0], sent)
    log = app[1].read_text()
    assert "/secret" not in log and "Traceback" not in log


def test_what_is_not_offered_is_refused_without_repeating_it():
    with gr.Blocks() as demo:
        radio = gr.Radio(["a"])
        radio.input(str, radio, radio)
    middleware.open_uploads_only(demo)
    with pytest.raises(gr.Error, match="^'This is not among the choices.'$") as refused:
        awaited(demo.preprocess_data, demo.fns[0], ["/secret"], None)
    assert refused.value.print_exception is False
    assert refused.value.__suppress_context__
    assert awaited(demo.preprocess_data, demo.fns[0], ["a"], None) == ["a"]


def test_no_address_is_fetched(app):
    asked = []
    with http_server(asked) as url:
        answer = ask(app[0], {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}})
        request(app[0], "GET", f"/gradio_api/file={url}")
        request(app[0], "GET", f"/gradio_api/proxy={url}")
    assert "event: error" in answer
    assert asked == []


def test_errors_nobody_expected_have_the_headers_too(app):
    body = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--{BOUNDARY}--\r\n'
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    status, headers, answer = request(app[0], "POST", "/gradio_api/component_server", body, kind)
    assert status >= 400
    assert headers["x-content-type-options"] == "nosniff"
    assert b"Traceback" not in answer


def test_answers_that_nobody_reads_do_not_pile_up(trained, tmp_path):
    body = json.dumps({"data": ["x" * 100_000, "y"], "session_hash": "deaf", "fn_index": None})
    with running_app("--checkpoints", trained, log=tmp_path / "log") as address:
        config = json.loads(request(address, "GET", "/config")[2])
        number = next(d["id"] for d in config["dependencies"] if d["api_name"] == "confusion_matrix")
        body = body.replace("null", str(number))
        kind = {"Content-Type": "application/json"}
        answers = []
        for _ in range(3 * limits.UNREAD_MESSAGES):
            answers.append(request(address, "POST", "/gradio_api/queue/join", body, kind)[::2])
            if answers[-1][0] != 200:
                break
            time.sleep(0.02)
        assert answers[0][0] == 200
        assert answers[-1][0] == 503
        assert b"read the answers" in answers[-1][1]
        fresh = body.replace("deaf", "another")
        assert request(address, "POST", "/gradio_api/queue/join", fresh, kind)[0] == 200


def awaited(function, *arguments):
    """What an async function returns, in a thread of its own: Playwright keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, function, *arguments).result()


def test_of_all_who_do_not_read_those_who_left_most_lose_theirs():
    waiting = {f"visitor {i}": SimpleNamespace(qsize=lambda i=i: i) for i in range(100)}
    gone = []

    async def clean_events(session_hash):
        gone.append(session_hash)

    async def push(body, request, username):
        return True, body.session_hash, "success"

    events = {"long gone": {"a"}, "visitor 1": {"b"}, "visitor 99": {"c"}}
    queue = SimpleNamespace(
        push=push,
        clean_events=clean_events,
        pending_messages_per_session=waiting,
        pending_event_ids_session=events,
    )
    middleware.bound_unread(SimpleNamespace(_queue=queue))
    answer = awaited(queue.push, SimpleNamespace(session_hash="visitor 1"), None, None)
    assert answer == (True, "visitor 1", "success")
    assert gone == [f"visitor {i}" for i in range(99, 99 - len(gone), -1)]
    assert sum(one.qsize() for one in waiting.values()) <= limits.TOTAL_UNREAD_MESSAGES
    assert len(waiting) == 100 - len(gone) > 50
    assert events == {"visitor 1": {"b"}}


def guarded(app, path="/gradio_api/run/predict", running=0):
    """Status and text of what a guard around an ASGI app says to one request."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    one = middleware.LimitsMiddleware(app)
    one.running = running
    scope = {"type": "http", "path": path, "method": "POST", "headers": []}
    awaited(one, scope, receive, send)
    assert one.running == running
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
    return sent[0]["status"], sent[1]["body"].decode()


def test_a_full_disk_is_one_sentence():
    async def full(scope, receive, send):
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/name")

    async def broken(scope, receive, send):
        raise ValueError("/secret/name")

    assert guarded(full, "/gradio_api/upload") == (507, "The disk of this server is full. Try again later.")
    assert guarded(broken) == (500, "Something went wrong here. Try again.")


def test_requests_beside_the_queue_are_counted_too():
    async def fine(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    assert guarded(fine, running=limits.DIRECT_REQUESTS - 1) == (200, "fine")
    status, answer = guarded(fine, running=limits.DIRECT_REQUESTS)
    assert status == 503
    assert "try again" in answer


class http_server:  # noqa: N801  reads as a function
    """A server on this machine that notes what it is asked."""

    def __init__(self, asked: list):
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(404)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/picture.png"

    def __exit__(self, *_):
        self.server.shutdown()


def test_the_log_has_a_line_a_request_and_no_file_name(app, picture):
    address, log, uploads = app
    client = Client(address, verbose=False)
    client.predict("breastmnist", "spt_lsa", handle_file(picture), api_name="/predict")
    stored = next(uploads.rglob("patient-name.png"))
    request(address, "GET", f"/gradio_api/file={stored}")
    request(address, "GET", "/patient-name.png")
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert {"time", "method", "route", "status", "received", "ms"} == set(lines[-1])
    assert ("POST", "/gradio_api/upload", 200) in [(x["method"], x["route"], x["status"]) for x in lines]
    assert "patient" not in log.read_text()


def test_a_client_that_leaves_early_harms_nobody(app, picture):
    address = app[0].removeprefix("http://")
    for _ in range(5):
        half = http.client.HTTPConnection(address, timeout=60)
        half.putrequest("POST", "/gradio_api/upload")
        half.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        half.putheader("Content-Length", "1000000")
        half.endheaders()
        half.send(form({"half.png": bytes(5000)})[0][:3000])
        half.close()
        body = json.dumps({"data": ["breastmnist", "spt_lsa", None]})
        request(app[0], "POST", "/gradio_api/call/predict", body, {"Content-Type": "application/json"})
    client = Client(app[0], verbose=False)
    answer = client.predict("breastmnist", "spt_lsa", handle_file(picture), api_name="/predict")
    assert answer["label"]


def test_old_uploads_are_swept_and_new_ones_stay(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "picture.png").write_bytes(b"x")
    middleware.sweep(tmp_path, 3600)
    assert (tmp_path / "new" / "picture.png").exists()
    time.sleep(0.05)
    for _ in range(3):  # a folder ages anew when its last file goes
        middleware.sweep(tmp_path, 0.01)
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_left_is_found_and_nothing_else(tmp_path):
    own, left, photos = (tmp_path / name for name in ("medvit-uploads-own", "medvit-uploads-left", "photos"))
    for folder in (own, left, photos, tmp_path / "medvit-data"):
        folder.mkdir()
    (tmp_path / "medvit-uploads-link").symlink_to(photos)
    (tmp_path / "medvit-uploads-file").write_bytes(b"x")
    assert middleware.abandoned(own) == [left]


def test_many_users_get_what_one_gets(app, trained, tmp_path):
    pictures = []
    for i in range(6):
        pictures.append(tmp_path / f"{i}.png")
        Image.fromarray(synthetic.draw("breastmnist", i)).resize((100, 90)).save(pictures[-1])
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    client = Client(app[0], verbose=False)

    def look(i):
        return client.predict("breastmnist", "spt_lsa", handle_file(pictures[i % 6]), api_name="/predict")

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(look, range(36)))
    for i, answer in enumerate(answers):
        assert answer["probabilities"] == pytest.approx(predictor(pictures[i % 6])["probabilities"], abs=1e-4)


def test_waiting_callers_share_a_batch_and_one_failure_stays_alone():
    sizes, gate = [], threading.Lock()

    def run(items):
        sizes.append(len(items))
        if "bad" in items:
            raise ValueError("bad item")
        return [item.upper() for item in items]

    together = RequestBatcher(run, gate, largest=4)
    with ThreadPoolExecutor(9) as pool, gate:
        waiting = {item: pool.submit(together, item) for item in "abcdefgh"} | {
            "bad": pool.submit(together, "bad")
        }
        while len(together._waiting) < 9:
            time.sleep(0.01)
        gate.release()  # all are queued up: let them go
        for item, one in waiting.items():
            if item == "bad":
                with pytest.raises(ValueError, match="bad item"):
                    one.result()
            else:
                assert one.result() == item.upper()
        gate.acquire()
    assert max(sizes) == 4
    assert sum(sizes) <= 9 + 4  # nothing but the batch with the bad one ran twice


def test_models_leave_when_memory_is_short():
    """The weights themselves go, though the predictor, its answer and a map stay."""
    registry = Registry.open(model_bytes=1)
    models = [name for _, name in registry.model_choices("breastmnist")]
    memory: list[StorageWeakRef] = []
    for model in models:
        predictor = registry.predictor("breastmnist", model)
        assert all(storage.expired() for storage in memory)
        prediction = predictor.predict(synthetic.draw("breastmnist", 0))
        predictor.heatmap(prediction, "grad_cam")
        memory = [StorageWeakRef(w.untyped_storage()) for w in predictor.explainer.model.parameters()]
        assert not any(storage.expired() for storage in memory)


def test_a_model_that_left_and_came_back_answers_the_same(trained):
    registry = Registry.open(trained)
    predictor = registry.predictor("breastmnist", "spt_lsa")
    before = predictor(synthetic.draw("breastmnist", 0))
    predictor.unload()
    assert not predictor.loaded
    assert predictor(synthetic.draw("breastmnist", 0)) == before


def test_a_model_that_leaves_while_it_is_asked_still_answers(trained):
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    source = synthetic.draw("breastmnist", 0)
    expected = predictor.predict(source).probabilities
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(predictor.predict, source) for _ in range(12)]
        while not all(answer.done() for answer in answers):
            predictor.unload()
            time.sleep(0.01)
    for answer in answers:
        np.testing.assert_allclose(answer.result().probabilities, expected, atol=1e-5)


def test_a_checkpoint_deleted_under_a_running_server_is_named(trained, tmp_path):
    root = tmp_path / "checkpoints"
    shutil.copytree(trained, root)
    registry = Registry.open(root)
    shutil.rmtree(root / "breastmnist" / "spt_lsa")
    with pytest.raises(MedvitError, match="breastmnist/spt_lsa"):
        registry.predictor("breastmnist", "spt_lsa").predict(synthetic.draw("breastmnist", 0))
    assert registry.checkpoint("breastmnist", "spt_lsa").card["subset"] == "breastmnist"


def test_truncated_data_fall_back_to_phantoms(trained, synthetic_root, tmp_path):
    whole = (synthetic_root / "breastmnist.npz").read_bytes()
    (tmp_path / "breastmnist.npz").write_bytes(whole[: len(whole) // 2])
    registry = Registry.open(trained, tmp_path)
    assert not registry.has_data("breastmnist")
    assert "phantom" in registry.examples("breastmnist")[0].origin


def test_the_first_page_is_built_without_the_slow_imports(trained):
    code = (
        "import sys\nfrom medvit import ui\nfrom medvit.store import Store\n"
        f"ui.build(Store.open({str(trained)!r}))\n"
        "print([m for m in ('transformers', 'sklearn', 'scipy', 'matplotlib', 'torchvision', 'cv2',"
        " 'pytorch_grad_cam', 'medmnist', 'peft') if m in sys.modules])"
    )
    environment = os.environ | {"MEDVIT_LAZY": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stdout + done.stderr


def test_visitors_who_come_while_transformers_is_imported_get_answers(trained):
    code = (
        "import threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from medvit import load, models, phantoms\n"
        "barrier = threading.Barrier(7)\n"
        "def visit(i):\n"
        f"    predictor = load('breastmnist', 'spt_lsa', {str(trained)!r})\n"
        "    barrier.wait()\n"
        "    return predictor(phantoms.draw('breastmnist', i))['label']\n"
        "with ThreadPoolExecutor(6) as pool:\n"
        "    answers = pool.map(visit, range(6))\n"
        "    barrier.wait()\n"
        "    models.register()\n"
        "    print(len(list(answers)), 'answers')\n"
    )
    command, environment = [sys.executable, "-c", code], os.environ | {"MEDVIT_LAZY": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip().endswith("6 answers"), done.stdout + done.stderr


def test_two_who_need_scikit_learn_first_wait_for_each_other():
    code = (
        "import sys, threading, time\n"
        "from medvit.ui import parts\n"
        "assert 'sklearn' not in sys.modules\n"
        "def package():\n"
        "    from sklearn import metrics\n"
        "def module():\n"
        "    from sklearn.metrics import roc_curve\n"
        "threads = [threading.Thread(target=parts.plain_errors(one)) for one in (package, module)]\n"
        "threads[0].start()\n"
        "while 'sklearn' not in sys.modules:\n"  # half of these died here when nobody waited
        "    time.sleep(2e-4)\n"
        "threads[1].start()\n"
        "[thread.join() for thread in threads]\n"
    )
    command, environment = [sys.executable, "-c", code], os.environ | {"MEDVIT_LAZY": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr


def test_a_login_is_asked_for_and_never_logged(trained, tmp_path):
    log = tmp_path / "app.log"
    with running_app("--checkpoints", trained, "--auth", "reader:s3cret", "--log", log=log) as address:
        assert request(address, "GET", "/gradio_api/info")[0] == 401
        assert request(address, "POST", "/gradio_api/upload", *form({"a.png": b"x"}))[0] == 401
        assert request(address, "GET", "/healthz")[0] == 200
        client = Client(address, auth=("reader", "s3cret"), verbose=False)
        assert client.predict("breastmnist", "spt_lsa", api_name="/confusion_matrix")["labels"]
    assert "s3cret" not in log.read_text()


@pytest.mark.parametrize("text", ["", "reader", "reader:", ":secret"])
def test_an_unusable_login_is_refused_without_repeating_it(text):
    with pytest.raises(MedvitError, match="USER:PASSWORD") as refused:
        hosting.credentials(text)
    assert "secret" not in str(refused.value)


def test_mcp_and_a_login_exclude_each_other():
    with pytest.raises(MedvitError, match="without"):
        hosting.check_mcp(("user", "password"))


def test_mcp_without_its_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(hosting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MedvitError, match=r"pip install 'gradio\[mcp\]'"):
        hosting.check_mcp(None)


def test_a_full_queue_says_so_at_once(trained, tmp_path):
    code = (
        "import os, sys, time, gradio as gr\nfrom medvit import limits, ui\nimport pathlib\n"
        "from medvit.store import Store\n"
        "limits.QUEUE = 1\nlimits.AT_ONCE = 1\n"
        "Store.checkpoint_ = Store.checkpoint\n"
        "Store.checkpoint = lambda self, *name: (time.sleep(3), self.checkpoint_(*name))[1]\n"
        f"demo = ui.build(Store.open({str(trained)!r}))\n"
        "demo.launch(server_port=int(sys.argv[1]), **ui.launch_options(pathlib.Path(sys.argv[2])))\n"
    )
    port = 18123
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(port), str(tmp_path)], cwd=REPOSITORY, stdout=log, stderr=log
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(address + "/healthz", timeout=5).close()
                break
            except (OSError, urllib.error.URLError):
                time.sleep(0.5)
        body = json.dumps({"data": ["breastmnist", "spt_lsa"]})
        kind = {"Content-Type": "application/json"}
        answers = [
            request(address, "POST", "/gradio_api/call/confusion_matrix", body, kind) for _ in range(5)
        ]
        assert [status for status, _, _ in answers].count(503) >= 1
        refused = next(answer for answer in answers if answer[0] == 503)
        assert b"Queue is full" in refused[2]
        assert refused[1]["retry-after"] == "5"
    finally:
        process.terminate()
        process.wait(30)


def test_two_pictures_at_once_keep_apart(trained):
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    sources = [synthetic.draw("breastmnist", i) for i in range(5)]
    passes = predictor.explainer.many(to_tensor(np.stack(sources)))
    for alone, together in zip(map(predictor.predict, sources), passes, strict=True):
        torch.testing.assert_close(alone.forward_pass.logits, together.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.forward_pass.attentions, together.attentions, atol=1e-5, rtol=0)
