import http.server
import threading

import numpy as np
import pytest

from medvit import phantoms, subsets
from medvit.errors import MedvitError

from .conftest import run_script


@pytest.fixture
def server(tmp_path):
    """A web server on this machine that serves tmp_path/served; yields (folder, address)."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def origin(monkeypatch):
    """Let medmnist's table name another address and md5 for breastmnist."""

    def set_to(url, md5):
        info = subsets._medmnist_info().INFO["breastmnist"]
        monkeypatch.setitem(info, "url", url)
        monkeypatch.setitem(info, "MD5", md5)
        subsets.get.cache_clear()

    yield set_to
    subsets.get.cache_clear()


def test_all_twelve_two_dimensional_subsets_are_known():
    assert len(subsets.names()) == 12
    assert subsets.names()[:5] == subsets.MAIN
    tasks = {subsets.get(name).task for name in subsets.names()}
    assert tasks == {"multi-class", "binary-class", "ordinal-regression", "multi-label, binary-class"}


def test_every_size_has_an_address_and_a_checksum():
    for name in subsets.names():
        facts = subsets.get(name)
        for size in subsets.SIZES:
            assert facts.url[size].startswith("https://")
            assert len(facts.md5[size]) == 32
    assert subsets.get("pathmnist").file_name(224) == "pathmnist_224.npz"


def test_breast_label_zero_is_malignant():
    assert subsets.get("breastmnist").classes[0] == "malignant"


def test_an_unknown_subset_names_the_known_ones():
    with pytest.raises(MedvitError, match="bloodmnist, breastmnist"):
        subsets.get("bloodmnst")


@pytest.mark.parametrize(
    ("name", "image_shape", "label_shape"),
    [
        ("breastmnist", (48, 28, 28), (48,)),
        ("bloodmnist", (48, 28, 28, 3), (48,)),
        ("chestmnist", (48, 28, 28), (48, 14)),
    ],
)
def test_arrays_have_the_form_of_their_subset(phantom_root, name, image_shape, label_shape):
    images, labels = subsets.load_split(name, "train", root=phantom_root)
    assert (images.dtype, images.shape) == (np.uint8, image_shape)
    assert (labels.dtype, labels.shape) == (np.int64, label_shape)


def test_the_data_root_is_the_argument_else_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDVIT_DATA", str(tmp_path / "from-environment"))
    assert subsets.data_root() == tmp_path / "from-environment"
    assert subsets.data_root(tmp_path) == tmp_path


def test_absent_data_say_where_they_belong_and_how_to_fetch_them(tmp_path):
    with pytest.raises(MedvitError) as error:
        subsets.load_split("bloodmnist", "test", root=tmp_path)
    assert str(tmp_path / "bloodmnist.npz") in str(error.value)
    assert "scripts/download.py bloodmnist" in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "garbage", "other subset"])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    path = phantoms.write_archive("bloodmnist", tmp_path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-4000])
    elif damage == "garbage":
        path.write_bytes(b"not a zip file at all")
    else:
        phantoms.write_archive("breastmnist", tmp_path).replace(path)
    with pytest.raises(MedvitError, match=r"bloodmnist\.npz"):
        subsets.load_split("bloodmnist", "test", root=tmp_path)


def test_a_download_arrives_whole_and_reports_progress(server, origin, tmp_path):
    folder, address = server
    served = phantoms.write_archive("breastmnist", folder)
    origin(f"{address}/breastmnist.npz", subsets.md5sum(served))
    seen = []
    path = subsets.download("breastmnist", root=tmp_path / "data", progress=lambda *step: seen.append(step))
    assert path.read_bytes() == served.read_bytes()
    assert seen[-1] == (served.stat().st_size,) * 2


def test_a_wrong_checksum_leaves_nothing_behind(server, origin, tmp_path):
    folder, address = server
    phantoms.write_archive("breastmnist", folder)
    origin(f"{address}/breastmnist.npz", "0" * 32)
    with pytest.raises(MedvitError, match="0" * 32):
        subsets.download("breastmnist", root=tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_file_that_is_not_the_official_one_is_not_overwritten(tmp_path):
    path = phantoms.write_archive("breastmnist", tmp_path)
    before = path.read_bytes()
    with pytest.raises(MedvitError, match="md5"):
        subsets.download("breastmnist", root=tmp_path)
    assert path.read_bytes() == before


def test_without_a_network_the_message_tells_how_to_do_it_by_hand(origin, tmp_path):
    origin("http://127.0.0.1:9/breastmnist.npz", "a" * 32)
    with pytest.raises(MedvitError) as error:
        subsets.download("breastmnist", root=tmp_path)
    for word in ("http://127.0.0.1:9/breastmnist.npz", str(tmp_path / "breastmnist.npz"), "a" * 32):
        assert word in str(error.value)


def test_the_download_command_names_the_subsets_it_knows():
    done = run_script("download.py", "breastmnst")
    assert done.returncode == 1
    assert "pneumoniamnist" in done.stderr
    assert "Traceback" not in done.stderr
