from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import medvit
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.explain import MapOptions


@pytest.fixture(scope="module")
def predictor(trained):
    return medvit.load("breastmnist", "spt_lsa", root=trained)


def test_the_answer_is_plain_json(predictor, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(synthetic.draw("breastmnist", 0)).resize((300, 200)).save(path)
    answer = predictor(path)
    assert set(answer) == {
        "label", "probabilities", "calibrated", "prediction_set", "in_distribution", "subset", "model",
    }  # fmt: skip
    assert (answer["subset"], answer["model"]) == ("breastmnist", "spt_lsa")
    assert set(answer["probabilities"]) == {"malignant", "normal, benign"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)


def test_path_bytes_image_and_array_give_the_same_answer(predictor, tmp_path):
    picture = synthetic.draw("breastmnist", 1)
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    forms = (path, str(path), path.read_bytes(), Image.fromarray(picture), picture)
    assert all(predictor(form) == predictor(path) for form in forms)


def test_many_threads_get_the_answers_of_one(predictor):
    pictures = [synthetic.draw("breastmnist", i) for i in range(12)]

    def look(picture):
        prediction = predictor.predict(predictor.source(picture))
        maps = [predictor.heatmap(prediction, method) for method in ("grad_cam", "rollout")]
        return [prediction.probabilities, *maps]

    alone = [look(picture) for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(look, pictures))
    for one, other in zip(alone, together, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_allclose(left, right, atol=1e-4)


def test_a_class_that_is_not_there_is_refused(predictor):
    prediction = predictor.predict(synthetic.draw("breastmnist", 0))
    with pytest.raises(MedvitError, match="There is no class 2"):
        predictor.heatmap(prediction, "grad_cam", MapOptions(target=2))
