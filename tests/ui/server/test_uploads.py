"""A visitor can have only uploaded files opened, few at once, and nothing that was sent is repeated."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import anyio
import gradio as gr
import pytest

from medvit import limits
from medvit.ui.server import uploads
from medvit.ui.server.uploads import BoundedProgress, open_uploads_only
from tests.conftest import REPOSITORY

from .http import predict, request, run_async
from .test_middleware import SECRETS


@pytest.mark.parametrize("more", [{"meta": {"_type": "gradio.FileData"}}, {"meta": {"_type": "other"}}, {}])
@pytest.mark.parametrize("path", [*SECRETS, str(REPOSITORY / "docs" / "explore.png"), "/dev/zero"])
def test_no_path_that_a_visitor_names_is_opened(app_server, path, more):
    text = predict(app_server.address, {"path": path} | more)
    assert "Only files that were uploaded" in text or "Addresses are not fetched" in text
    assert path not in text


@pytest.mark.parametrize(
    "value", [{"path": 5}, {"path": ["/secret"]}, {"path": None, "size": "/secret"}, [5], 7, "/secret", {}]
)
def test_a_value_that_is_no_file_is_refused_without_repeating_it(app_server, value):
    assert "event: error" in predict(app_server.address, value)
    log = app_server.log.read_text()
    assert "/secret" not in log
    assert "Traceback" not in log


@contextmanager
def http_server(paths: list[str]):
    """A server on this machine that records the paths requested from it; yields an address on it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/picture.png"
    server.shutdown()


def test_no_address_is_fetched(app_server):
    paths: list[str] = []
    with http_server(paths) as url:
        text = predict(app_server.address, {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}})
        request(app_server.address, "GET", f"/gradio_api/file={url}")
        request(app_server.address, "GET", f"/gradio_api/proxy={url}")
    assert "event: error" in text
    assert paths == []


@pytest.fixture(scope="module")
def demo():
    """An app with a radio button and a file input."""
    with gr.Blocks() as demo:
        radio, files = gr.Radio(["a"]), gr.File(file_count="multiple")
        radio.input(str, radio, radio)
        files.change(str, files, radio)
    open_uploads_only(demo)
    return demo


def refusal(demo, number, value):
    with pytest.raises(gr.Error) as refused:
        run_async(demo.preprocess_data, demo.fns[number], [value], None)
    assert refused.value.print_exception is False
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    return refused.value.message


def test_a_choice_that_is_not_offered_is_refused_without_repeating_it(demo):
    assert refusal(demo, 0, "/secret") == "This is not among the choices."
    assert run_async(demo.preprocess_data, demo.fns[0], ["a"], None) == ["a"]


def test_files_are_counted_before_any_is_looked_at(demo):
    files = [{"path": f"/tmp/{i}"} for i in range(limits.UPLOAD_FILES + 1)]
    assert "At most" in refusal(demo, 1, files)
    assert "only once" in refusal(demo, 1, [{"path": "/tmp/a"}] * 2)


def test_the_progress_of_few_uploads_is_kept(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PROGRESS", 3)
    progress = BoundedProgress()
    for i in range(10):
        progress.track(f"id {i}")
    progress.append("id 9", "x" * 9000, b"abc")
    progress.append("id 0", "x", b"abc")
    progress.set_done("id 1")
    assert list(progress._statuses) == list(progress._signals) == ["id 7", "id 8", "id 9"]
    assert len(progress.pop("id 9").filename) == 255
    assert not progress.is_done("id 8")


def test_waiting_for_an_unknown_upload_leaves_nothing():
    progress = BoundedProgress()

    async def wait():
        with anyio.move_on_after(0.1):
            await progress.is_tracked("unknown")

    run_async(wait)
    assert not progress._signals
