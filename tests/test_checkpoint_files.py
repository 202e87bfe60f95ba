import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

import medvit
from medvit import checkpoint
from medvit.errors import MedvitError
from medvit.evaluation.model_card import markdown
from medvit.inference.predictor import Predictor
from medvit.inference.registry import Registry
from medvit.models import pretrained
from tests import hostile_folders
from tests.hostile_folders import DAMAGES, MODEL_DAMAGES, TRUST_DAMAGES

# Opens a folder of checkpoints with 1 GB of memory and 60 seconds of CPU beyond those of the imports.
OPEN = """
import json, resource, sys
from pathlib import Path
from medvit.inference.registry import Registry
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
memory = int(status["VmSize"].split()[0]) * 1024 + 2**30
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
resource.setrlimit(resource.RLIMIT_CPU, (used + 60, used + 60))
registry = Registry.open(sys.argv[1])
print(json.dumps([[name for _, name in registry.model_choices("breastmnist")], registry.problems]))
"""


INSERTED = (b"NaN", b"-1", b"9" * 30, b"[]", b"null", b'"', b"1e999", b"{}")  # by the mutations


@pytest.fixture(scope="module")
def small(trained, tmp_path_factory):
    """A valid checkpoint of a few kilobytes. Only read it."""
    folder = tmp_path_factory.mktemp("small") / "breastmnist" / "vit"
    hostile_folders.write_small_folder(folder, trained / "breastmnist" / "spt_lsa")
    return folder


@pytest.fixture
def folder(small, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(small, tmp_path / "breastmnist" / "vit")


@pytest.fixture(scope="module")
def opened(small, tmp_path_factory):
    """What the app finds beside one intact checkpoint and every damage: models, {folder: problem}."""
    root = tmp_path_factory.mktemp("hostile")
    shutil.copytree(small, root / "breastmnist" / "zz_intact")
    for number, (damage, _) in enumerate(DAMAGES.values()):
        damage(shutil.copytree(small, root / "breastmnist" / f"damage_{number}"))
    command = [sys.executable, "-c", OPEN, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_the_app_opens_what_is_intact_beside_hostile_folders(opened):
    models, problems = opened
    assert models == ["vit"]
    assert len(problems) == len(DAMAGES) >= 30


@pytest.mark.parametrize("name", DAMAGES)
def test_a_hostile_folder_is_left_out_with_one_sentence(opened, name):
    number = list(DAMAGES).index(name)
    problem = opened[1][f"breastmnist/damage_{number}"]
    assert DAMAGES[name][1] in problem
    assert f"damage_{number}" in problem
    assert problem.endswith(".") and "\n" not in problem
    assert len(problem) < 500


@pytest.mark.parametrize("damage", TRUST_DAMAGES.values(), ids=TRUST_DAMAGES)
def test_a_damaged_trust_file_is_ignored_with_one_sentence(folder, damage):
    assert checkpoint.load(folder).trust is not None
    damage(folder)
    item = checkpoint.load(folder)
    assert item.trust is None
    assert "ignored" in item.trust_problem and "\n" not in item.trust_problem
    assert set(Predictor(item)(np.zeros((40, 40, 3), np.uint8))["probabilities"]) == set(item.dataset.classes)


@pytest.mark.parametrize(("damage", "word"), MODEL_DAMAGES.values(), ids=MODEL_DAMAGES)
def test_a_hostile_model_is_refused_when_it_is_loaded(folder, damage, word):
    damage(folder)
    with pytest.raises(MedvitError, match=word) as refusal:
        _ = checkpoint.load(folder).model
    assert "\n" not in str(refusal.value)
    picture = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(MedvitError):
        medvit.Explainer(folder)(picture)
    with pytest.raises(MedvitError):
        pretrained.from_backbone(str(folder))


def test_of_two_folders_with_one_model_name_the_second_is_reported(folder):
    shutil.copytree(folder, folder.with_name("again"))
    registry = Registry.open(folder.parent.parent)
    assert [name for _, name in registry.model_choices("breastmnist")] == ["vit"]
    (problem,) = registry.problems.values()
    assert "vit" in problem and "Keep one" in problem


def test_a_card_without_the_sha256_of_the_configuration_stays_valid(folder):
    card = json.loads((folder / "card.json").read_text())
    del card["config_sha256"]
    (folder / "card.json").write_text(json.dumps(card))
    assert checkpoint.load(folder).model.config.hidden_size == 8


@pytest.mark.slow
def test_mutated_files_raise_nothing_but_errors_for_the_user(small, tmp_path):
    generator = random.Random(0)
    names = [path.name for path in small.iterdir() if path.suffix in (".json", ".npz", ".safetensors")]
    refused = 0
    for number in range(300):
        folder = shutil.copytree(small, tmp_path / str(number) / "breastmnist" / "vit")
        path = folder / generator.choice(names)
        path.write_bytes(mutated(path.read_bytes(), generator))
        if generator.random() < 0.5 and path.name != "card.json":
            hostile_folders.bind(folder)
        try:
            item = checkpoint.load(folder)
            Predictor(item)(np.zeros((40, 40, 3), np.uint8))
            markdown(item)
        except MedvitError as error:
            refused += "\n" not in str(error)
        shutil.rmtree(folder.parent.parent)
    assert refused > 100


def mutated(content: bytes, generator: random.Random) -> bytes:
    """Bytes with a few changed, cut, repeated or inserted; digits become other digits more often."""
    data = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        place, kind = generator.randrange(len(data)), generator.randrange(5)
        if kind == 0:
            data[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del data[place : place + generator.randrange(1, 20)]
        elif kind == 2:
            data[place:place] = data[place : place + 30]
        elif kind == 3:
            data[place:place] = generator.choice(INSERTED)
        else:
            digits = [i for i, byte in enumerate(data) if chr(byte).isdigit()] or [place]
            data[generator.choice(digits)] = ord(generator.choice("0123456789-.e"))
    return bytes(data)
