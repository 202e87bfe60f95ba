"""The benchmarks run and report what they promise; their times are never asserted."""

import io
import json

import pytest
from PIL import Image

from medvit import checkpoint
from medvit.benchmarks.client import Client, same_answer
from medvit.benchmarks.common import Measurement, alternate, ratio
from medvit.commands.benchmark import BENCHMARKS
from medvit.data import synthetic
from medvit.explain import METHODS
from tests.conftest import run_command


def test_a_measurement_holds_below_its_target_or_above_a_lower_bound():
    assert Measurement("a", 1.0, "s", 2.0).holds
    assert not Measurement("a", 3.0, "s", 2.0).holds
    assert Measurement("a", 3.0, "x", 2.0, at_least=True).holds
    assert Measurement("a", 1.23456, "s").to_json() == {
        "name": "a", "value": 1.2346, "unit": "s", "target": None, "holds": None,
    }  # fmt: skip


def test_candidates_take_turns_and_warm_up():
    calls = []
    seconds = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_the_median_over_the_pairs():
    assert ratio({"ours": [1, 2, 9], "reference": [1, 1, 3]}, "ours", "reference") == 2


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_explains_itself(name):
    done = run_command("benchmark", name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: medvit benchmark {name}")


def test_explain_prints_one_json_line_for_each_measurement():
    folder = checkpoint.DEFAULT_ROOT / "bloodmnist" / "vit_finetuned"
    done = run_command("benchmark", "explain", "--rounds", 1, "--model", folder)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    peers = ("torchcam ", "captum ", "torchxai ", "fast_vit_rollout ")  # where they are installed
    assert len([line for line in lines if not line["name"].startswith(peers)]) == 4 + len(METHODS)
    assert all(set(line) == {"name", "value", "unit", "target", "holds"} for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("bulk", "--models", "spt_lsa", "--images", 8, "--rounds", 1),
        ("train", "--images", 8, "--rounds", 1),
        ("startup", "--rounds", 1),
        ("load", "--users", 2, "--seconds", 8),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_others_run(arguments):
    done = run_command("benchmark", *arguments)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_the_client_gets_the_same_answer_twice(app_server, synthetic_png):
    client = Client(app_server.address, "breastmnist", "spt_lsa")
    for endpoint in ("predict", "explain", "confusion_matrix"):
        assert same_answer(client.ask(endpoint, synthetic_png), client.ask(endpoint, synthetic_png))


def test_answers_are_compared_up_to_rounding_and_file_locations():
    answer = {"probabilities": [0.5, 0.5], "path": "/tmp/a", "label": "x"}
    assert same_answer(answer, answer | {"path": "/tmp/b", "probabilities": [0.50001, 0.49999]})
    assert not same_answer(answer, answer | {"probabilities": [0.6, 0.4]})
    assert not same_answer(answer, answer | {"label": "y"})
    assert same_answer({"score": -319.7095}, {"score": -319.7096})
    assert not same_answer({"score": -319.70}, {"score": -319.71})


@pytest.fixture
def synthetic_png():
    buffer = io.BytesIO()
    Image.fromarray(synthetic.draw("breastmnist", 0)).save(buffer, "PNG")
    return buffer.getvalue()
