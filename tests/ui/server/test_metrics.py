"""/metrics: what the server did and holds, for Prometheus."""

import base64
from types import SimpleNamespace

import pytest

from medvit.errors import MedvitError
from medvit.inference.registry import Registry
from medvit.ui.server import hosting
from medvit.ui.server.login import has_basic_login
from medvit.ui.server.metrics import Metrics
from medvit.ui.server.request_log import RequestLog
from tests.conftest import running_app

from .http import predict, request

prometheus_client = pytest.importorskip("prometheus_client")
parser = pytest.importorskip("prometheus_client.parser")


def samples(text):
    """{(name, labels as sorted pairs): value} of a text of /metrics."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def basic(login):
    return {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


@pytest.fixture(scope="module")
def address(trained, tmp_path_factory):
    """An app with metrics and without a login."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app("--checkpoints", trained, "--metrics", log=log) as address:
        yield address
    assert "Traceback" not in log.read_text()


@pytest.mark.server
def test_requests_refusals_queue_models_and_memory_are_measured(address):
    predict(address, None)
    assert request(address, "GET", "/made/up")[0] == 404
    status, headers, body = request(address, "GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    values = samples(body.decode())
    assert values["medvit_requests_total", (("route", "/gradio_api/call"), ("status", "200"))] == 2
    assert values["medvit_refusals_total", (("reason", "unknown"),)] >= 1
    assert values["medvit_queue_length", ()] == 0
    assert values["medvit_models_in_memory", ()] == 0
    assert values["medvit_connections", ()] >= 1
    assert values["process_resident_memory_bytes", ()] > 100e6


@pytest.mark.server
def test_metrics_are_behind_the_login(trained, tmp_path):
    log = tmp_path / "log"
    with running_app("--checkpoints", trained, "--metrics", "--auth", "reader:s3cret", log=log) as address:
        status, headers, body = request(address, "GET", "/metrics")
        assert (status, headers["www-authenticate"], body) == (401, "Basic", b"Log in first.")
        assert request(address, "GET", "/metrics", headers=basic("reader:s3cret"))[0] == 200
        wrong = [request(address, "GET", "/metrics", headers=basic("reader:x"))[0] for _ in range(11)]
        assert wrong == [401] * 10 + [429]
    assert "s3cret" not in log.read_text()


def test_there_are_no_metrics_unless_asked_for(app_server):
    assert request(app_server.address, "GET", "/metrics")[0] == 404


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (basic("reader:a:b")["Authorization"], True),
        (basic("reader:a")["Authorization"], False),
        (basic("other:a:b")["Authorization"], False),
        (basic("other:")["Authorization"], False),
        ("Bearer " + basic("reader:a:b")["Authorization"].split()[1], False),
        ("Basic !", False),
        ("Basic /w==", False),  # not UTF-8
        ("", False),
    ],
)
def test_the_login_may_be_in_the_header(header, accepted):
    scope = {
        "type": "http",
        "app": SimpleNamespace(auth={"reader": "a:b"}),
        "headers": [(b"authorization", header.encode())],
    }
    assert has_basic_login(scope) is accepted


def test_made_up_routes_add_no_labels(trained, tmp_path):
    metrics = Metrics(Registry.open(trained, tmp_path), SimpleNamespace(pid=None))
    for i in range(1000):
        metrics.count(RequestLog("GET", f"/{i}", status=400 + i % 4))
    text, _ = metrics.render()
    assert len(metrics.requests) == 4
    assert samples(text)["medvit_refusals_total", (("reason", "malformed"),)] == 250
    assert samples(text)["medvit_worker_resident_memory_bytes", ()] == 0


def test_metrics_without_their_package_are_one_sentence(monkeypatch):
    monkeypatch.setattr(hosting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MedvitError, match="pip install prometheus-client"):
        hosting.check_metrics()
