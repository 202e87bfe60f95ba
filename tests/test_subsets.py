import hashlib
import http.server
import threading

import numpy as np
import pytest

from medvit import files
from medvit.data import medmnist, stratified_sample, synthetic
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
        info = medmnist.package_info().INFO["breastmnist"]
        monkeypatch.setitem(info, "url", url)
        monkeypatch.setitem(info, "MD5", md5)
        medmnist.get.cache_clear()

    yield set_to
    medmnist.get.cache_clear()


def test_all_twelve_two_dimensional_subsets_are_known():
    assert len(medmnist.names()) == 12
    assert medmnist.names()[:5] == medmnist.MAIN
    tasks = {medmnist.get(name).task for name in medmnist.names()}
    assert tasks == {"multi-class", "binary-class", "ordinal-regression", "multi-label, binary-class"}


def test_every_size_has_an_address_and_a_checksum():
    for name in medmnist.names():
        facts = medmnist.get(name)
        for size in medmnist.SIZES:
            assert facts.url[size].startswith("https://")
            assert len(facts.md5[size]) == 32
    assert medmnist.get("pathmnist").file_name(224) == "pathmnist_224.npz"


def test_breast_label_zero_is_malignant():
    assert medmnist.get("breastmnist").classes[0] == "malignant"


def test_an_unknown_subset_names_the_known_ones():
    with pytest.raises(MedvitError, match="bloodmnist, breastmnist"):
        medmnist.get("bloodmnst")


@pytest.mark.parametrize(
    ("name", "image_shape", "label_shape"),
    [
        ("breastmnist", (48, 28, 28), (48,)),
        ("bloodmnist", (48, 28, 28, 3), (48,)),
        ("chestmnist", (48, 28, 28), (48, 14)),
    ],
)
def test_arrays_have_the_form_of_their_subset(synthetic_root, name, image_shape, label_shape):
    images, labels = medmnist.load_split(name, "train", root=synthetic_root)
    assert (images.dtype, images.shape) == (np.uint8, image_shape)
    assert (labels.dtype, labels.shape) == (np.int64, label_shape)


def test_the_data_root_is_the_argument_else_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDVIT_DATA", str(tmp_path / "from-environment"))
    assert medmnist.data_root() == tmp_path / "from-environment"
    assert medmnist.data_root(tmp_path) == tmp_path


def test_absent_data_say_where_they_belong_and_how_to_fetch_them(tmp_path):
    with pytest.raises(MedvitError) as error:
        medmnist.load_split("bloodmnist", "test", root=tmp_path)
    assert str(tmp_path / "bloodmnist.npz") in str(error.value)
    assert "scripts/download.py bloodmnist" in str(error.value)
    with pytest.raises(MedvitError, match="scripts/download.py bloodmnist --size 64`"):
        medmnist.load_split("bloodmnist", "test", 64, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "garbage", "other subset"])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    path = synthetic.write_archive("bloodmnist", tmp_path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-4000])
    elif damage == "garbage":
        path.write_bytes(b"not a zip file at all")
    else:
        synthetic.write_archive("breastmnist", tmp_path).replace(path)
    with pytest.raises(MedvitError, match=r"bloodmnist\.npz"):
        medmnist.load_split("bloodmnist", "test", root=tmp_path)


def test_a_download_arrives_whole_and_reports_progress(server, origin, tmp_path):
    folder, address = server
    served = synthetic.write_archive("breastmnist", folder)
    origin(f"{address}/breastmnist.npz", files.md5sum(served))
    seen = []
    path = medmnist.download("breastmnist", root=tmp_path / "data", progress=lambda *step: seen.append(step))
    assert path.read_bytes() == served.read_bytes()
    assert seen[-1] == (served.stat().st_size,) * 2


def test_a_wrong_checksum_leaves_nothing_behind(server, origin, tmp_path):
    folder, address = server
    synthetic.write_archive("breastmnist", folder)
    origin(f"{address}/breastmnist.npz", "0" * 32)
    with pytest.raises(MedvitError, match="0" * 32):
        medmnist.download("breastmnist", root=tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


class Breaking(http.server.BaseHTTPRequestHandler):
    """Serves `content`, but hangs up after `breaks` bytes; knows ranges where `ranges` is true."""

    content = b""
    breaks: int | None = None
    ranges = True
    asked: list

    def do_GET(self):
        asked = self.headers.get("Range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : self.breaks])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def breaking(origin, tmp_path):
    """A handler class to set up, over the phantom archive as the official one; and the folder to fetch to."""
    content = synthetic.write_archive("breastmnist", tmp_path / "official").read_bytes()
    handler = type("Handler", (Breaking,), {"content": content, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        origin(f"http://127.0.0.1:{running.server_port}/breastmnist.npz", md5)
        yield handler, tmp_path / "data"
        running.shutdown()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_transfer_goes_on_where_it_broke(breaking, ranges):
    handler, folder = breaking
    handler.ranges, handler.breaks = ranges, 5000
    with pytest.raises(MedvitError, match="Try again|IncompleteRead"):
        medmnist.download("breastmnist", root=folder)
    assert [p.name for p in folder.iterdir()] == ["breastmnist.npz.part"]
    handler.breaks = None
    seen = []
    path = medmnist.download("breastmnist", root=folder, progress=lambda *step: seen.append(step))
    assert path.read_bytes() == handler.content
    assert handler.asked == [None, "bytes=5000-"]
    assert seen[-1] == (len(handler.content),) * 2
    assert list(folder.iterdir()) == [path]


def test_a_part_that_is_whole_already_is_only_checked(breaking):
    handler, folder = breaking
    folder.mkdir()
    (folder / "breastmnist.npz.part").write_bytes(handler.content)
    assert medmnist.download("breastmnist", root=folder).read_bytes() == handler.content


def test_a_part_with_wrong_bytes_is_deleted_and_the_next_try_starts_anew(breaking):
    handler, folder = breaking
    folder.mkdir()
    (folder / "breastmnist.npz.part").write_bytes(b"x" * 100)
    with pytest.raises(MedvitError, match="has md5"):
        medmnist.download("breastmnist", root=folder)
    assert list(folder.iterdir()) == []
    assert medmnist.download("breastmnist", root=folder).is_file()


def test_what_progress_raises_ends_the_transfer_and_keeps_the_part(breaking):
    handler, folder = breaking

    def stop(done, total):
        raise MedvitError(f"Stopped at {done}")

    with pytest.raises(MedvitError, match="Stopped at"):
        medmnist.download("breastmnist", root=folder, progress=stop)
    assert [p.name for p in folder.iterdir()] == ["breastmnist.npz.part"]


def test_two_downloads_of_one_archive_do_not_mix(breaking):
    _, folder = breaking
    second = []

    def start_another(done, total):
        with pytest.raises(MedvitError, match="already") as error:
            medmnist.download("breastmnist", root=folder)
        second.append(error)

    assert medmnist.download("breastmnist", root=folder, progress=start_another).is_file()
    assert second


def test_a_download_that_has_to_wait_leaves_the_other_its_empty_part(origin, tmp_path):
    origin("http://127.0.0.1:9/breastmnist.npz", "a" * 32)
    part = medmnist.part_path(tmp_path / "breastmnist.npz")
    with part.open("ab") as first:
        medmnist._lock(first, part)
        with pytest.raises(MedvitError, match="already"):
            medmnist.download("breastmnist", root=tmp_path)
        assert part.exists()


def test_a_file_that_is_not_the_official_one_is_not_overwritten(tmp_path):
    path = synthetic.write_archive("breastmnist", tmp_path)
    before = path.read_bytes()
    with pytest.raises(MedvitError, match="md5"):
        medmnist.download("breastmnist", root=tmp_path)
    assert path.read_bytes() == before


def test_without_a_network_the_message_tells_how_to_do_it_by_hand(origin, tmp_path):
    origin("http://127.0.0.1:9/breastmnist.npz", "a" * 32)
    with pytest.raises(MedvitError) as error:
        medmnist.download("breastmnist", root=tmp_path)
    for word in ("http://127.0.0.1:9/breastmnist.npz", str(tmp_path / "breastmnist.npz"), "a" * 32):
        assert word in str(error.value)


def test_the_download_command_names_the_subsets_it_knows():
    done = run_script("download.py", "breastmnst")
    assert done.returncode == 1
    assert "pneumoniamnist" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sample_keeps_the_class_shares_and_the_order():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [500, 300, 200]))
    part = stratified_sample(labels, 100)
    assert np.bincount(labels[part]).tolist() == [50, 30, 20]
    assert (np.diff(part) > 0).all()
    np.testing.assert_array_equal(stratified_sample(labels, 1000), np.arange(1000))
    for count in (1, 999):  # too few on one side to hold each class
        assert len(stratified_sample(labels, count)) == count
