"""A real app.py process, asked by a real gradio_client."""

import base64
import http.client
import io
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import medvit
from medvit.data import synthetic
from medvit.explain import MapOptions

from .conftest import REPOSITORY, running_app


@pytest.fixture(scope="module")
def app(trained, tmp_path_factory):
    """(client, log file) of an app over the trained checkpoint."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app("--checkpoints", trained, log=log) as address:
        yield Client(address, verbose=False), log


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(synthetic.draw("breastmnist", 3)).resize((640, 480)).save(path)
    return path


def test_predict_answers_as_the_library_does(app, trained, picture):
    answer = app[0].predict("breastmnist", "spt_lsa", handle_file(picture), api_name="/predict")
    expected = medvit.load("breastmnist", "spt_lsa", root=trained)(picture)
    assert answer["label"] == expected["label"]
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert (answer["subset"], answer["model"]) == ("breastmnist", "spt_lsa")
    assert sum(answer["calibrated"].values()) == pytest.approx(1)
    assert answer["prediction_set"] == expected["prediction_set"]
    assert answer["label"] in answer["prediction_set"]["classes"]
    seen = answer["in_distribution"]
    assert set(seen) == {"score", "threshold", "accepted"}
    assert seen["accepted"] is (seen["score"] >= seen["threshold"])


def test_confusion_matrix_counts_the_whole_test_split(app):
    answer = app[0].predict("breastmnist", "spt_lsa", api_name="/confusion_matrix")
    assert answer["labels"] == ["malignant", "normal, benign"]
    assert [sum(row) for row in answer["matrix"]] == [8, 8]


def test_exactly_the_documented_endpoints_are_public(app):
    described = app[0].view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(described) == {"/predict", "/explain", "/confusion_matrix"}
    assert [p["parameter_name"] for p in described["/predict"]["parameters"]] == ["subset", "model", "image"]


@pytest.mark.parametrize("method", ["attention", "relevance", "occlusion"])
def test_explain_gives_the_map_of_the_library_and_a_picture(app, trained, picture, method):
    client = app[0]
    asked = dict(method=method, layer=2, head=1, target="malignant", api_name="/explain")
    answer = client.predict("breastmnist", "spt_lsa", handle_file(picture), **asked)
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    prediction = predictor.predict(predictor.source(picture))
    expected = predictor.heatmap(prediction, method, MapOptions(target=0, layer=2, head=1))
    np.testing.assert_allclose(answer["map"], expected, atol=1e-5)
    assert (answer["target"], answer["label"]) == ("malignant", prediction.label)
    overlay = Image.open(io.BytesIO(base64.b64decode(answer["overlay"].partition(",")[2])))
    assert overlay.size == (336, 336)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "lime"}, "The maps are: attention"),
        ({"layer": 20}, "There is no layer 20; the model has 9"),
        ({"head": 12}, "There is no head 12"),
        ({"method": "relevance", "target": "flu"}, "There is no class 'flu'. There are: malignant"),
    ],
)
def test_explain_says_what_it_can_give(app, picture, wrong, words):
    with pytest.raises(Exception, match=words):
        app[0].predict("breastmnist", "spt_lsa", handle_file(picture), **wrong, api_name="/explain")


def test_the_page_of_the_api_says_what_an_answer_holds(app):
    with urllib.request.urlopen(f"{app[0].src}gradio_api/info", timeout=60) as response:
        text = response.read().decode()
    for word in ("calibrated", "prediction_set", "in_distribution", "threshold"):
        assert word in text


@pytest.mark.parametrize(
    ("subset", "model", "words"),
    [("nomnist", "spt_lsa", "There are: breastmnist"), ("breastmnist", "nomodel", "There are: spt_lsa")],
)
def test_unknown_names_are_answered_with_the_valid_ones(app, picture, subset, model, words):
    with pytest.raises(Exception, match=words):
        app[0].predict(subset, model, handle_file(picture), api_name="/predict")
    with pytest.raises(Exception, match=words):
        app[0].predict(subset, model, api_name="/confusion_matrix")


REFUSED = {
    "text.png": "not an image",
    "drawing.png": "not an image",
    "empty.png": "not an image",
    "cut-41-valid-RGB.png": "damaged",
    "lie-13377x13377.png": "million",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_upload_gets_one_sentence_and_changes_nothing(app, picture, hostile_files, tmp_path, name):
    client, log = app
    before = client.predict("breastmnist", "spt_lsa", handle_file(picture), api_name="/predict")
    path = tmp_path / name
    path.write_bytes(hostile_files[name])
    with pytest.raises(Exception, match=REFUSED[name]):
        client.predict("breastmnist", "spt_lsa", handle_file(path), api_name="/predict")
    assert client.predict("breastmnist", "spt_lsa", handle_file(picture), api_name="/predict") == before
    assert "Traceback" not in log.read_text()


def test_a_missing_image_gets_one_sentence(app):
    with pytest.raises(Exception, match="There is no image"):
        app[0].predict("breastmnist", "spt_lsa", None, api_name="/predict")


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/run/predict"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_body_that_says_it_is_large_is_refused_before_it_is_sent(app, path, kind):
    connection = http.client.HTTPConnection(app[0].src.split("/")[2], timeout=60)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(600 * 2**20))
    connection.endheaders()
    assert connection.getresponse().status == 413


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/upload"])
def test_a_large_body_that_does_not_say_so_is_cut_off(app, path):
    connection = http.client.HTTPConnection(app[0].src.split("/")[2], timeout=60)
    start = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n"  # a field without a file name
    chunks = (start, *(bytes(2**20) for _ in range(60)))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        connection.request("POST", path, chunks, headers, encode_chunked=True)
        status = connection.getresponse().status
    except ConnectionError:
        status = "cut off while sending"
    assert status in (400, 413, "cut off while sending")  # 400: FastAPI calls it an unreadable body


def test_every_answer_carries_the_security_headers(app):
    with urllib.request.urlopen(app[0].src, timeout=60) as response:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'self'" in response.headers["content-security-policy"]
        assert response.headers["referrer-policy"] == "same-origin"


def test_a_port_that_is_taken_is_one_sentence(app, trained):
    port = app[0].src.rstrip("/").rsplit(":", 1)[1]
    command = [sys.executable, str(REPOSITORY / "app.py"), "--port", port, "--checkpoints", str(trained)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_app_says_so_where_there_is_no_checkpoint(tmp_path):
    command = [sys.executable, REPOSITORY / "app.py", "--checkpoints", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "There is no checkpoint" in done.stderr
    assert "Traceback" not in done.stderr
