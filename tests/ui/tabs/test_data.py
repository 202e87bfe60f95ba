"""The Data tab: facts, images and the download of a dataset."""

import http.server
import threading
import time

import gradio as gr
import pytest

from medvit import files
from medvit.checkpoint import DEFAULT_ROOT, load
from medvit.data import download, medmnist, synthetic
from medvit.inference.predictor import Predictor
from medvit.inference.registry import Registry
from medvit.ui.state import Selection
from medvit.ui.tabs import data


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture(scope="module")
def predictor():
    return Predictor(load(DEFAULT_ROOT / "breastmnist" / "cnn"))


@pytest.fixture
def tab(predictor, root):
    """The tab over an empty data root."""
    with gr.Blocks():
        return data.build(Registry([predictor], DEFAULT_ROOT, root), gr.State())[0]


@pytest.fixture
def slow_server(tmp_path, monkeypatch):
    """Serve a synthetic archive as the official breastmnist, 4 kB every 20 ms."""
    content = synthetic.write_archive("breastmnist", tmp_path / "official").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            for start in range(0, len(content), 4096):
                time.sleep(0.02)
                try:
                    self.wfile.write(content[start : start + 4096])
                except OSError:
                    return

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        info = medmnist.package_info().INFO["breastmnist"]
        monkeypatch.setitem(info, "url", f"http://127.0.0.1:{server.server_port}/x.npz")
        monkeypatch.setitem(info, "MD5", files.md5sum(tmp_path / "official" / "breastmnist.npz"))
        monkeypatch.setattr(data, "PROGRESS_SECONDS", 0.01)
        monkeypatch.setattr(download, "BLOCK", 4096)
        medmnist.get.cache_clear()
        yield
        server.shutdown()
    medmnist.get.cache_clear()


@pytest.mark.parametrize("name", medmnist.names())
def test_the_facts_of_all_twelve_datasets_need_no_images(tab, name):
    values = tab.show(name)
    assert medmnist.get(name).licence in values[tab.facts]
    assert medmnist.get(name).md5[28] in values[tab.facts]
    assert "not on this machine" in values[tab.status]
    assert not any(values[panel].visible for panel in tab.panels)
    assert values[tab.download].visible


def test_images_on_disk_are_displayed(tab, root):
    synthetic.write_archive("bloodmnist", root)
    values = tab.show("bloodmnist")
    assert values[tab.status] == ""
    assert not values[tab.download].visible
    assert all(values[panel].visible for panel in tab.panels)
    assert values[tab.examples].count("<img") == 8
    assert "all 48 training images" in values[tab.mean]


def test_a_damaged_archive_is_reported_and_not_offered_again(tab, root):
    synthetic.write_archive("bloodmnist", root).write_bytes(b"garbage")
    values = tab.show("bloodmnist")
    assert "cannot be read" in values[tab.status]
    assert not values[tab.download].visible


def test_the_tab_follows_the_picker_only_when_it_changed(tab):
    values = {tab.selection: Selection("retinamnist", "cnn", None), tab.followed: None}
    update = tab.update(values)
    assert update[tab.followed] == "retinamnist"
    assert "RetinaMNIST" in update[tab.facts]
    assert set(update) <= tab.outputs
    assert tab.update(values | {tab.followed: "retinamnist"}) == gr.skip()


def test_the_tab_offers_the_dataset_of_the_picker_and_those_without_a_model(tab):
    names = [name for _, name in data.dataset_choices(tab.registry, "retinamnist")]
    with_model = {name for _, name in tab.registry.subset_choices()}
    assert names[0] == "retinamnist"
    assert not set(names[1:]) & with_model
    assert len(set(names[1:]) | with_model) == 12


def test_a_download_displays_progress_and_then_the_images(tab, root, slow_server):
    steps = list(tab.fetch({tab.displayed: "breastmnist"}))
    assert any("MB of" in step[tab.status] and "<progress value" in step[tab.status] for step in steps)
    assert (root / "breastmnist.npz").is_file()
    update = tab.redraw({tab.displayed: "breastmnist", tab.fetched: "breastmnist"})
    assert "<img" in update[tab.examples]
    assert tab.status not in update


def test_a_download_draws_nothing_over_the_dataset_chosen_meanwhile(tab, slow_server):
    for step in tab.fetch({tab.displayed: "breastmnist"}):
        assert set(step) <= {tab.running, tab.fetched, tab.stop, tab.status, tab.download}
    update = tab.redraw({tab.displayed: "octmnist", tab.fetched: "breastmnist"})
    assert update[tab.download].visible
    assert not any(update[panel].visible for panel in tab.panels)
    assert "not on this machine" in update[tab.status]


def test_a_cancelled_download_is_resumed_by_the_next(tab, root, slow_server):
    steps = tab.fetch({tab.displayed: "breastmnist"})
    for step in steps:
        if "<progress value" in step[tab.status]:
            step[tab.running].set()
            break
    assert "Stopped at" in list(steps)[-1][tab.status]
    assert (root / "breastmnist.npz.part").is_file()
    list(tab.fetch({tab.displayed: "breastmnist"}))
    assert [path.name for path in root.iterdir()] == ["breastmnist.npz"]


def test_a_visitor_who_leaves_ends_the_download(tab, root, slow_server):
    steps = tab.fetch({tab.displayed: "breastmnist"})
    next(steps)
    steps.close()
    assert not (root / "breastmnist.npz").exists()
