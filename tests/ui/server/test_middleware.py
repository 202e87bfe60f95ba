"""Limits, closed routes, headers and errors, by the middleware alone and by a running server."""

import errno
import http.client
import json
import re
from pathlib import Path

import pytest

from medvit import limits
from medvit.ui.server import middleware
from medvit.ui.server.responses import RefusedError
from tests.conftest import REPOSITORY

from .asgi import fine, respond
from .http import BOUNDARY, JSON, form, request, run_async


def test_a_full_disk_is_one_sentence():
    async def full(scope, receive, send):
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/name")

    assert respond(full, "/gradio_api/upload") == (507, "The disk of this server is full. Try again later.")


def test_an_unexpected_error_is_one_sentence_and_is_logged_without_its_text(capfd):
    async def broken(scope, receive, send):
        raise ValueError("/secret/name")

    async def broken_below_starlette(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"/secret/name"})
        raise ValueError("/secret/name")

    for app in (broken, broken_below_starlette):
        assert respond(app) == (500, "Something went wrong here. Try again.")
        error = capfd.readouterr().err
        assert "ValueError" in error
        assert "in broken" in error
        assert "secret" not in error.replace('raise ValueError("/secret/name")', "")


def test_a_500_that_the_app_means_is_passed_on():
    async def meant(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"There is no model."})

    assert respond(meant) == (500, "There is no model.")


def test_requests_beside_the_queue_are_limited():
    assert respond(fine, running=limits.DIRECT_REQUESTS - 1) == (200, "fine")
    status, text = respond(fine, running=limits.DIRECT_REQUESTS)
    assert status == 503
    assert "try again" in text
    assert respond(fine, "/config", running=limits.DIRECT_REQUESTS) == (200, "fine")


def test_mcp_messages_have_slots_of_their_own():
    slots = middleware.Slots(("/gradio_api/mcp",), 1)
    assert slots.counts("POST", "/gradio_api/mcp/")
    assert not slots.counts("GET", "/gradio_api/mcp/")  # a stream that stays open
    with slots.hold("a"), pytest.raises(RefusedError, match="Busy"), slots.hold("b"):
        pass
    with slots.hold("b"):
        pass


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/" + "a" * limits.TARGET_BYTES, 414),
        ("/a\0b", 400),
        ("/gradio_api/file=" + "a" * 256, 400),
        ("/gradio_api/heartbeat/" + "a" * 65, 400),
        ("/gradio_api/heartbeat/abc", 200),
        ("/gradio_api/upload_progress?upload_id=" + "a" * 65, 400),
    ],
    ids=["long", "nul", "long name", "long session", "fine", "long upload id"],
)
def test_addresses_that_no_client_uses_are_refused(path, status):
    async def with_app(scope, receive, send):
        await fine(scope, receive, send)

    original = middleware.is_logged_in
    middleware.is_logged_in = lambda scope: True
    try:
        assert respond(with_app, path, method="GET")[0] == status
    finally:
        middleware.is_logged_in = original


@pytest.mark.parametrize(
    ("value", "status"), [(b"bytes=0-99", 200), (b"bytes=-5", 200), (b"bytes=a-b-c", 416), (b"bytes=", 416)]
)
def test_a_range_is_understood_or_refused(value, status):
    assert respond(fine, "/config", method="GET", headers=[(b"range", value)])[0] == status


def test_websockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    run_async(middleware.LimitsMiddleware(fine), {"type": "websocket", "path": "/"}, None, send)
    assert sent == [{"type": "websocket.close"}]


def test_health_is_answered(app_server):
    status, headers, body = request(app_server.address, "GET", "/healthz")
    assert (status, body) == (200, b"ok")
    assert headers["x-content-type-options"] == "nosniff"


def test_every_response_has_the_security_headers(app_server):
    bad_form = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--{BOUNDARY}--\r\n'
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    for arguments in (
        ("GET", "/"),
        ("GET", "/nothing"),
        ("POST", "/gradio_api/component_server", bad_form, kind),
        ("POST", "/gradio_api/queue/join", "{", JSON),
    ):
        _, headers, body = request(app_server.address, *arguments)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert b"Traceback" not in body


def test_as_many_files_as_allowed_and_no_more(app_server):
    for count, expected in ((limits.UPLOAD_FILES, 200), (limits.UPLOAD_FILES + 1, 413)):
        body, kind = form({f"{i}.png": b"x" for i in range(count)})
        status, _, text = request(app_server.address, "POST", "/gradio_api/upload", body, kind)
        assert status == expected, text
    assert b"At most" in text


@pytest.mark.parametrize("declared", [True, False])
def test_a_client_that_sends_far_too_much_still_reads_why(app_server, declared):
    size = 16 * limits.BODY_BYTES  # more than the buffers between the two hold
    body = (b"A" * limits.MB for _ in range(size // limits.MB))
    headers = {"Content-Length": str(size)} if declared else {}  # without: in chunks
    status, headers, text = request(app_server.address, "POST", "/gradio_api/queue/join", body, headers)
    assert (status, headers["connection"]) == (413, "close")
    assert text == b"The request is larger than 2 MB."


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/component_server"])
def test_a_form_without_files_does_not_fill_memory(app_server, path):
    connection = http.client.HTTPConnection(app_server.address.removeprefix("http://"), timeout=60)
    start = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n"  # a field without a file name
    chunks = (start, *(bytes(2**20) for _ in range(60)))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        connection.request("POST", path, chunks, headers, encode_chunked=True)
        status = connection.getresponse().status
    except ConnectionError:
        status = "cut off while sending"
    assert status in (413, "cut off while sending")


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
def test_no_route_reads_other_files(app_server, route):
    for secret in SECRETS:
        status, _, body = request(app_server.address, "GET", route.format(secret))
        assert status >= 300, (secret, status)
        assert b"root:" not in body
        assert b"argparse" not in body


JOIN = ("POST", "/gradio_api/queue/join")
MALFORMED = {
    "unknown endpoint": ("POST", "/gradio_api/call/nothing", b'{"data": []}', JSON),
    "unknown endpoint, v2": ("POST", "/gradio_api/call/v2/nothing", b"{}", JSON),
    "unknown endpoint, run": ("POST", "/gradio_api/run/nothing", b'{"data": []}', JSON),
    "missing arguments": ("POST", "/gradio_api/call/v2/predict", b"{}", JSON),
    "unknown argument": ("POST", "/gradio_api/call/v2/predict", b'{"nothing": 1}', JSON),
    "no data": ("POST", "/gradio_api/call/predict", b"{}", JSON),
    "data of another type": ("POST", "/gradio_api/call/predict", b'{"data": "x"}', JSON),
    "unknown function": (*JOIN, b'{"data": [], "fn_index": 9999, "session_hash": "a"}', JSON),
    "negative function": (*JOIN, b'{"data": [], "fn_index": -1, "session_hash": "a"}', JSON),
    "no function": (*JOIN, b'{"data": [], "session_hash": "a"}', JSON),
    "list for an object": (*JOIN, b"[]", JSON),
    "component of another page": (
        "POST", "/gradio_api/component_server",
        b'{"data": 1, "component_id": 99999, "session_hash": "a", "fn_name": "x"}', JSON,
    ),
    "no function of a component": (
        "POST", "/gradio_api/component_server",
        b'{"data": 1, "component_id": 1, "session_hash": "a", "fn_name": "x"}', JSON,
    ),
    "form without fields": ("POST", "/gradio_api/component_server", *form({"a.png": b"x"})),
    "upload without a form": ("POST", "/gradio_api/upload", b"x", {"Content-Type": "text/plain"}),
    "upload without a boundary": (
        "POST", "/gradio_api/upload", b"x", {"Content-Type": "multipart/form-data"},
    ),
    "upload with a long boundary": (
        "POST", "/gradio_api/upload", b"x", {"Content-Type": "multipart/form-data; boundary=" + "x" * 30_000},
    ),
    "cancel nothing": ("POST", "/gradio_api/cancel", b"{}", JSON),
    "range of letters": ("GET", "/config", None, {"Range": "bytes=a-b-c"}),
    "origin of half an address": ("GET", "/config", None, {"Origin": "http://["}),
    "NUL in the path": ("GET", "/gradio_api/file=/tmp/a%00b", None, {}),
    "surrogate in the path": ("GET", "/gradio_api/file=/tmp/%ed%a0%80", None, {}),
    "long name in the path": ("GET", "/gradio_api/file=/tmp/" + "a" * 300, None, {}),
    "stream of nobody": ("GET", "/gradio_api/queue/data", None, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_in_one_sentence(app_server, name):
    before = app_server.log.stat().st_size
    status, headers, body = request(app_server.address, *MALFORMED[name])
    assert 400 <= status < 500, body
    assert len(body) < 1000
    assert headers["x-content-type-options"] == "nosniff"
    for line in app_server.log.read_text()[before:].splitlines():
        assert line.startswith("{") or re.fullmatch(r"refused: \w+ in gradio[\w.]*:\d+", line), line


@pytest.mark.parametrize(
    "name", ["a" * 300 + ".png", "ä" * 200 + ".png", "a\0b.png", "../../a.png", "\x1b[31m", ""]
)
def test_an_upload_with_an_odd_name_is_stored_under_a_safe_one(app_server, name):
    status, _, body = request(app_server.address, "POST", "/gradio_api/upload", *form({name: b"x"}))
    if status == 200:
        (path,) = json.loads(body) or [None]
        assert path is None or Path(path).parents[1] == app_server.uploads
    else:
        assert 400 <= status < 500, body
