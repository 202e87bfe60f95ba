"""One JSON line per request, without anything that a visitor sent."""

import json

import pytest
from gradio_client import handle_file
from PIL import Image

from medvit.data import synthetic
from medvit.ui.server.request_log import RequestLog

from .http import request


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/config", "/config"),
        ("/static/js/secret.js", "/static"),
        ("/gradio_api/file=/tmp/secret.png", "/gradio_api/file"),
        ("/gradio_api/heartbeat/secret", "/gradio_api/heartbeat"),
        ("/gradio_api/call/secret/secret", "/gradio_api/call"),
        ("/gradio_api/queue/join", "/gradio_api/queue/join"),
    ],
)
def test_a_route_has_no_names(path, route, capsys):
    RequestLog("GET", path, status=200).write()
    assert json.loads(capsys.readouterr().err)["route"] == route


def test_the_log_has_one_line_per_request_and_no_file_name(app_server, tmp_path):
    picture = tmp_path / "patient-name.png"
    Image.fromarray(synthetic.draw("breastmnist", 3)).save(picture)
    app_server.client.predict("breastmnist", "spt_lsa", handle_file(picture), api_name="/predict")
    stored = next(app_server.uploads.rglob("patient-name.png"))
    request(app_server.address, "GET", f"/gradio_api/file={stored}")
    request(app_server.address, "GET", "/patient-name.png")
    log = app_server.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {"time", "method", "route", "status", "received", "ms"} == set(lines[-1])
    assert ("POST", "/gradio_api/upload", 200) in [(x["method"], x["route"], x["status"]) for x in lines]
    assert "patient" not in log
