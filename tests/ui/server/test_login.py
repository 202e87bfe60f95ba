"""A login: required on every route but the page and its files, throttled, never logged."""

import json
from types import SimpleNamespace

import pytest
from gradio_client import Client

from medvit import limits
from medvit.ui.server import login
from medvit.ui.server.responses import RefusedError
from tests.conftest import running_app

from .http import JSON, form, request

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    """(address, log file) of an app with a login."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app("--checkpoints", trained, "--auth", "reader:s3cret", "--log", log=log) as address:
        yield address, log


@pytest.mark.server
def test_nothing_is_open_without_the_login(server):
    address, log = server
    body = json.dumps({"session_hash": "a", "fn_index": 1, "event_id": "b"})
    for arguments in (
        ("GET", "/gradio_api/info"),
        ("GET", "/config"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/app_id"),
        ("GET", "/gradio_api/heartbeat/abc"),
        ("GET", "/gradio_api/queue/status"),
        ("POST", "/gradio_api/upload", *form({"a.png": b"x"})),
        ("POST", "/gradio_api/cancel", body, JSON),
        ("POST", "/gradio_api/reset", body, JSON),
    ):
        assert request(address, *arguments)[0] in (401, 404), arguments[:2]
    assert request(address, "GET", "/healthz")[0] == 200
    assert request(address, "GET", "/")[0] == 200
    client = Client(address, auth=("reader", "s3cret"), verbose=False)
    assert client.predict("breastmnist", "spt_lsa", api_name="/confusion_matrix")["labels"]
    assert "s3cret" not in log.read_text()


@pytest.mark.server
def test_wrong_passwords_are_throttled(server):
    address = server[0]
    right = "username=reader&password=s3cret"
    status, headers, _ = request(address, "POST", "/login", right, FORM)
    assert status == 200
    assert all("SameSite=lax" in cookie for cookie in headers.get_all("set-cookie"))
    wrong = [request(address, "POST", "/login", "username=reader&password=x", FORM) for _ in range(12)]
    statuses = [status for status, _, _ in wrong]
    assert statuses == [400] * limits.LOGIN_ATTEMPTS + [429] * (12 - limits.LOGIN_ATTEMPTS)
    assert 0 < int(wrong[-1][1]["retry-after"]) <= limits.LOGIN_SECONDS + 1
    assert request(address, "POST", "/login", right, FORM)[0] == 429


def test_addresses_are_throttled_separately_and_forgotten_in_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(login.time, "monotonic", lambda: now[0])
    throttle = login.LoginThrottle(attempts=2, seconds=10)
    for _ in range(2):
        throttle.begin("10.0.0.1")
    throttle.begin("10.0.0.2")
    with pytest.raises(RefusedError, match="11 seconds"):
        throttle.begin("10.0.0.1")
    now[0] = 10.1
    throttle.begin("10.0.0.1")
    throttle.succeed("10.0.0.1")
    for _ in range(2):
        throttle.begin("10.0.0.1")


def test_a_token_in_a_cookie_is_a_login():
    app = SimpleNamespace(auth={"reader": "x"}, cookie_id="1", tokens={"token": "reader"})

    def is_logged_in(cookie):
        return login.is_logged_in({"type": "http", "app": app, "headers": [(b"cookie", cookie)]})

    assert is_logged_in(b"a=b; access-token-unsecure-1=token")
    assert not is_logged_in(b"access-token-unsecure-1=other")
    assert not is_logged_in(b"access-token-unsecure-2=token")
    assert not is_logged_in(b"\x00;;=")
