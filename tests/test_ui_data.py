"""The Data tab's functions, as the interface calls them."""

import http.server
import threading
import time

import pytest

from medvit import files
from medvit.data import medmnist, synthetic
from medvit.inference.registry import Registry
from medvit.ui.app import build


@pytest.fixture
def tab(trained, tmp_path):
    """name -> function of the Data tab, over an empty data root; and that root."""
    root = tmp_path / "data"
    demo = build(Registry.open(trained, root))
    found = {
        one.fn.__name__: one.fn
        for one in demo.fns.values()
        if one.fn and one.fn.__module__ == "medvit.ui.tabs.data"
    }
    return found, root


@pytest.fixture
def slow_server(tmp_path, monkeypatch):
    """Serves a phantom archive as the official breastmnist, 4 kB every 20 ms."""
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

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        info = medmnist.package_info().INFO["breastmnist"]
        monkeypatch.setitem(info, "url", f"http://127.0.0.1:{running.server_port}/x.npz")
        monkeypatch.setitem(info, "MD5", files.md5sum(tmp_path / "official" / "breastmnist.npz"))
        monkeypatch.setattr("medvit.ui.data.SAY_EVERY", 0.01)
        monkeypatch.setattr("medvit.subsets.BLOCK", 4096)
        medmnist.get.cache_clear()
        yield
        running.shutdown()
    medmnist.get.cache_clear()


@pytest.mark.parametrize("name", medmnist.names())
def test_the_facts_of_all_twelve_need_no_data(tab, name):
    facts, status, fetch, *_ = tab[0]["choose"](name)
    assert medmnist.get(name).licence in facts
    assert medmnist.get(name).md5[28] in facts
    assert "not on this machine" in status
    assert fetch.visible


def test_data_on_disk_are_shown(tab):
    functions, root = tab
    synthetic.write_archive("bloodmnist", root)
    _, status, fetch, balance, examples, mean, _ = functions["choose"]("bloodmnist")
    assert status == ""
    assert not fetch.visible
    assert len(balance.value.data if hasattr(balance.value, "data") else balance.value) > 0
    assert examples.count("<img") == 8
    assert "all 48 training images" in mean


def test_a_damaged_archive_is_said_so_and_not_offered_again(tab):
    functions, root = tab
    synthetic.write_archive("bloodmnist", root).write_bytes(b"garbage")
    _, status, fetch, *_ = functions["choose"]("bloodmnist")
    assert "cannot be read" in status
    assert not fetch.visible


def test_opening_the_tab_follows_the_picker_only_when_it_moved(tab):
    first = tab[0]["open_tab"]("retinamnist", None, "bloodmnist")
    assert first[:2] == ["retinamnist", "retinamnist"]
    again = tab[0]["open_tab"]("retinamnist", "retinamnist", "octmnist")
    assert len(again) == len(first)
    assert "retinamnist" not in again


def test_a_download_shows_progress_and_then_the_pictures(tab, slow_server):
    functions, root = tab
    steps = list(functions["download"]("breastmnist"))
    assert any("of" in step[2] and "<progress value" in step[2] for step in steps)
    assert (root / "breastmnist.npz").is_file()
    assert "<img" in functions["redraw"]("breastmnist")[2]


def test_a_download_draws_nothing_over_the_subset_chosen_meanwhile(tab, slow_server):
    functions, _ = tab
    for step in functions["download"]("breastmnist"):
        assert len(step) == 4  # stopping it, two buttons, the status
    missing = functions["redraw"]("bloodmnist")
    assert missing[0].visible is True  # the button that fetches
    assert missing[2] == ""


def test_cancel_stops_and_the_next_download_goes_on(tab, slow_server):
    functions, root = tab
    steps = functions["download"]("breastmnist")
    for step in steps:
        if "<progress value" in step[2]:
            step[0].set()
            break
    assert "Stopped at" in list(steps)[-1][2]
    assert (root / "breastmnist.npz.part").is_file()
    list(functions["download"]("breastmnist"))
    assert [p.name for p in root.iterdir()] == ["breastmnist.npz"]


def test_a_visitor_who_leaves_ends_the_transfer(tab, slow_server):
    functions, root = tab
    steps = functions["download"]("breastmnist")
    next(steps)
    steps.close()
    assert not (root / "breastmnist.npz").exists()
