"""Host names, pages of other origins, cookies and proxy headers."""

import pytest
from starlette.datastructures import MutableHeaders

from medvit.errors import MedvitError
from medvit.ui.server.origins import OriginPolicy
from medvit.ui.server.responses import RefusedError

from .http import JSON, form, request


def scope(method="GET", **headers):
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "headers": pairs}


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:7860", "127.0.0.1:80", "[::1]:7860", "10.1.2.3", "a.localhost", "app.org:1"],
)
def test_known_hosts_are_served(host):
    OriginPolicy.of(["app.org"]).check(scope(host=host))


@pytest.mark.parametrize("host", ["", "evil.org", "app.org.evil.org", "127.0.0.1.evil.org", "[::1", "a b"])
def test_a_name_that_points_here_from_elsewhere_is_refused(host):
    with pytest.raises(RefusedError) as refused:
        OriginPolicy.of(["app.org"]).check(scope(host=host))
    assert refused.value.status == 421


def test_pages_of_other_origins_may_neither_write_nor_read():
    policy = OriginPolicy.of()
    for origin in ("https://evil.org", "null", "http://localhost:1", "http://localhost.evil.org:7860"):
        with pytest.raises(RefusedError) as refused:
            policy.check(scope("POST", host="localhost:7860", origin=origin))
        assert refused.value.status == 403
        request = scope(host="localhost:7860", origin=origin)
        assert policy.check(request) is None
        assert b"origin" not in dict(request["headers"])
        headers = MutableHeaders(
            {"access-control-allow-origin": origin, "access-control-allow-credentials": "true"}
        )
        policy.set_headers(headers, None)
        assert not [name for name in headers if name.startswith("access-control")]
    assert policy.check(scope("POST", host="localhost:7860", origin="http://localhost:7860")) is None


def test_an_allowed_origin_may_embed_write_and_read():
    policy = OriginPolicy.of(origins=["https://lab.org"])
    assert policy.check(scope("POST", host="localhost", origin="https://lab.org")) == "https://lab.org"
    headers = MutableHeaders({"set-cookie": "a=b; HttpOnly; SameSite=lax; Secure"})
    policy.set_headers(headers, "https://lab.org")
    assert headers["access-control-allow-origin"] == "https://lab.org"
    assert headers["vary"] == "Origin"
    assert "https://lab.org" in headers["content-security-policy"]
    assert headers["set-cookie"] == "a=b; HttpOnly; Secure; SameSite=none"
    with pytest.raises(RefusedError):
        policy.check(scope("POST", host="localhost", origin="https://lab.org.evil.org"))


def test_cookies_are_not_sent_by_other_sites():
    headers = MutableHeaders()
    headers.append("set-cookie", "a=b; HttpOnly; SameSite=none; Secure")
    headers.append("set-cookie", "c=d")
    OriginPolicy.of().set_headers(headers, None)
    assert headers.getlist("set-cookie") == ["a=b; HttpOnly; Secure; SameSite=lax", "c=d; SameSite=lax"]


def test_proxy_headers_count_only_behind_a_proxy():
    sent = dict(
        host="localhost", x_forwarded_host="evil.org", x_forwarded_proto="https", forwarded="host=evil.org"
    )
    request = scope(**sent)
    OriginPolicy.of().check(request)
    assert set(dict(request["headers"])) == {b"host"}
    with pytest.raises(RefusedError):
        OriginPolicy.of(proxy=True).check(scope(**sent))
    behind = OriginPolicy.of(["app.org"], proxy=True)
    request = scope("POST", host="localhost", x_forwarded_host="app.org", origin="https://app.org")
    assert behind.check(request) is None
    assert b"x-forwarded-host" in dict(request["headers"])


def test_in_a_space_its_own_name_and_proxy_are_known(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "me/app")
    monkeypatch.setenv("SPACE_HOST", "me-app.hf.space")
    policy = OriginPolicy.of()
    policy.check(scope("POST", host="me-app.hf.space", origin="https://me-app.hf.space"))
    assert policy.same_site == "none"  # the page of a Space is inside one of huggingface.co


@pytest.mark.parametrize(
    "origin", ["lab.org", "https://lab.org/", "https://lab.org/a", "*", "ftp://lab.org", "http://["]
)
def test_an_origin_that_is_none_is_refused(origin):
    with pytest.raises(MedvitError, match="not an origin"):
        OriginPolicy.of(origins=[origin])


@pytest.mark.parametrize("host", ["https://app.org", "app.org:80", "*", ""])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(MedvitError, match="not a host name"):
        OriginPolicy.of([host])


def test_the_server_refuses_pages_and_names_from_elsewhere(app_server):
    elsewhere = {"Origin": "https://evil.org"}
    body, kind = form({"a.png": b"x"})
    for arguments in (
        ("POST", "/gradio_api/upload", body, kind | elsewhere),
        ("POST", "/gradio_api/queue/join", "{}", JSON | elsewhere),
        ("OPTIONS", "/gradio_api/queue/join", None, elsewhere | {"Access-Control-Request-Method": "POST"}),
        ("GET", "/config", None, elsewhere | {"Host": "app.evil.org"}),
        ("GET", "/config", None, elsewhere),
    ):
        status, headers, _ = request(app_server.address, *arguments)
        assert status in ((403, 421) if arguments[-1] != elsewhere else (200,))
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert headers["x-content-type-options"] == "nosniff"
    own = {"Origin": app_server.address}
    assert request(app_server.address, "POST", "/gradio_api/upload", body, kind | own)[0] == 200
