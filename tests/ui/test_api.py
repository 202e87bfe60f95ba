"""The API of a running app, called by a real gradio_client."""

import base64
import http.client
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image

import medvit
from medvit.data import synthetic
from medvit.explain import METHODS, MapOptions

from .server.http import BOUNDARY, JSON, connect, form, request

MODEL = ("breastmnist", "spt_lsa")


@pytest.fixture
def client(app_server):
    """A client of the running app."""
    return app_server.client


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(synthetic.draw("breastmnist", 3)).resize((640, 480)).save(path)
    return path


def test_predict_returns_what_the_library_does(client, trained, picture):
    result = client.predict(*MODEL, handle_file(picture), api_name="/predict")
    expected = medvit.load(*MODEL, root=trained)(picture)
    assert result["label"] == expected["label"]
    assert result["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert (result["subset"], result["model"]) == MODEL
    assert sum(result["calibrated"].values()) == pytest.approx(1)
    assert result["prediction_set"] == expected["prediction_set"]
    assert result["label"] in result["prediction_set"]["classes"]
    assert result.keys() == expected.keys()
    check = result["in_distribution"]
    if check is not None:  # without an OOD reference model among the checkpoints
        assert set(check) == {"score", "threshold", "accepted"}
        assert check["accepted"] is (check["score"] >= check["threshold"])


def test_confusion_matrix_counts_the_whole_test_split(client):
    result = client.predict(*MODEL, api_name="/confusion_matrix")
    assert result["labels"] == ["malignant", "normal, benign"]
    assert [sum(row) for row in result["matrix"]] == [8, 8]


def test_exactly_the_documented_endpoints_are_public(client):
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(described) == {"/predict", "/explain", "/confusion_matrix"}
    assert [p["parameter_name"] for p in described["/predict"]["parameters"]] == ["subset", "model", "image"]


@pytest.mark.parametrize("method", ["attention", "relevance", "occlusion"])
def test_explain_returns_the_map_of_the_library_and_a_picture(client, trained, picture, method):
    options = dict(method=method, layer=2, head=1, target="malignant", api_name="/explain")
    result = client.predict(*MODEL, handle_file(picture), **options)
    predictor = medvit.load(*MODEL, root=trained)
    prediction = predictor.predict(predictor.source(picture))
    expected = predictor.heatmap(prediction, method, MapOptions(target=0, layer=2, head=1))
    np.testing.assert_allclose(result["map"], expected, atol=1e-5)
    assert (result["target"], result["label"]) == ("malignant", prediction.label)
    overlay = Image.open(io.BytesIO(base64.b64decode(result["overlay"].partition(",")[2])))
    assert overlay.size == (336, 336)


def test_auto_is_the_most_faithful_map(client, trained, picture):
    result = client.predict(*MODEL, handle_file(picture), method="auto", api_name="/explain")
    assert result["method"] in METHODS
    named = client.predict(*MODEL, handle_file(picture), method=result["method"], api_name="/explain")
    assert named["map"] == result["map"]


def test_without_a_layer_the_last_is_explained(client, picture):
    maps = [
        client.predict(*MODEL, handle_file(picture), layer=layer, api_name="/explain")["map"]
        for layer in (None, -1, 0)
    ]
    assert maps[0] == maps[1] != maps[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lime"}, "attention"),
        ({"layer": 20}, "There is no layer 20; the model has 9"),
        ({"head": 12}, "There is no head 12"),
        ({"method": "relevance", "target": "flu"}, "There is no class 'flu'. There are: malignant"),
    ],
)
def test_explain_names_the_options_that_exist(client, picture, options, message):
    with pytest.raises(Exception, match=message):
        client.predict(*MODEL, handle_file(picture), **options, api_name="/explain")


def test_the_api_page_describes_the_result(app_server):
    text = request(app_server.address, "GET", "/gradio_api/info")[2].decode()
    for word in ("calibrated", "prediction_set", "in_distribution", "threshold"):
        assert word in text


@pytest.mark.parametrize(
    ("subset", "model", "message"),
    [("nomnist", "spt_lsa", "There are: breastmnist"), ("breastmnist", "nomodel", "There are: spt_lsa")],
)
def test_an_unknown_name_is_answered_with_the_valid_ones(client, picture, subset, model, message):
    with pytest.raises(Exception, match=message):
        client.predict(subset, model, handle_file(picture), api_name="/predict")
    with pytest.raises(Exception, match=message):
        client.predict(subset, model, api_name="/confusion_matrix")


REFUSED = {
    "text.png": "not an image",
    "drawing.png": "not an image",
    "empty.png": "not an image",
    "cut-41-valid-RGB.png": "damaged",
    "lie-13377x13377.png": "million",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_upload_gets_one_sentence_and_changes_nothing(client, picture, hostile_files, tmp_path, name):
    before = client.predict(*MODEL, handle_file(picture), api_name="/predict")
    path = tmp_path / name
    path.write_bytes(hostile_files[name])
    with pytest.raises(Exception, match=REFUSED[name]):
        client.predict(*MODEL, handle_file(path), api_name="/predict")
    assert client.predict(*MODEL, handle_file(picture), api_name="/predict") == before


def test_a_missing_image_gets_one_sentence(client):
    with pytest.raises(Exception, match="There is no image"):
        client.predict(*MODEL, None, api_name="/predict")


@pytest.mark.parametrize("path", ["queue/join", "upload", "run/predict"])
@pytest.mark.parametrize("kind", ["application/json", f"multipart/form-data; boundary={BOUNDARY}"])
def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(app_server, path, kind):
    connection = http.client.HTTPConnection(app_server.address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", f"/gradio_api/{path}")
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(600 * 2**20))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_many_clients_get_the_predictions_of_one(client, trained, tmp_path):
    pictures = []
    for i in range(6):
        pictures.append(tmp_path / f"{i}.png")
        Image.fromarray(synthetic.draw("breastmnist", i)).resize((100, 90)).save(pictures[-1])
    predictor = medvit.load(*MODEL, root=trained)
    expected = [predictor(picture)["probabilities"] for picture in pictures]

    def predict(i):
        return client.predict(*MODEL, handle_file(pictures[i % 6]), api_name="/predict")["probabilities"]

    with ThreadPoolExecutor(12) as pool:
        for i, probs in enumerate(pool.map(predict, range(36))):
            assert probs == pytest.approx(expected[i % 6], abs=1e-4)


def test_a_client_that_disconnects_in_the_middle_affects_nobody(app_server, picture):
    body, kind = form({"half.png": bytes(5000)})
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
    for _ in range(5):
        half = connect(app_server.address)
        half.sendall(f"{head}Content-Type: {kind['Content-Type']}\r\n\r\n".encode() + body[:3000])
        half.close()
        unread = json.dumps({"data": [*MODEL, None]})
        request(app_server.address, "POST", "/gradio_api/call/predict", unread, JSON)
    assert app_server.client.predict(*MODEL, handle_file(picture), api_name="/predict")["label"]
