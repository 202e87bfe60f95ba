"""Models are fetched from a hub by id: from a local server that answers as the Hugging Face hub does."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from medvit.data import synthetic

from ..conftest import REPOSITORY

COMMIT = "0123456789abcdef" * 2 + "01234567"


class Hub(ThreadingHTTPServer):
    """Serves the folders `root`/owner/name as repositories. `served`: the files that were downloaded."""

    def __init__(self, root):
        super().__init__(("127.0.0.1", 0), Answer)
        self.root, self.served = root, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].strip("/").split("/")
        if path[:2] == ["api", "models"]:
            folder = self.server.root.joinpath(*path[2:4])
            files = [file.name for file in folder.glob("*")]
            if "tree" in path:
                body = [{"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": COMMIT}
                        for name in files]  # fmt: skip
            else:
                siblings = [{"rfilename": name} for name in files]
                body = {"id": "/".join(path[2:4]), "sha": COMMIT, "siblings": siblings}
            self.answer(folder.is_dir(), json.dumps(body).encode())
        else:
            file = self.server.root.joinpath(*path[:2], *path[4:])  # owner/name/resolve/revision/file
            if file.is_file() and self.command == "GET":
                self.server.served.append("/".join(path[:2] + path[4:]))
            self.answer(file.is_file(), file.read_bytes() if file.is_file() else b"")

    def answer(self, exists, body):
        self.send_response(200 if exists else 404)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        if not exists:
            self.send_header("X-Error-Code", "EntryNotFound" if "/resolve/" in self.path else "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(own_models, backbone, tmp_path):
    root = tmp_path / "hub"
    shutil.copytree(own_models / "vit", root / "someone" / "cats")
    shutil.copytree(own_models / "timm", root / "timm" / "vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    shutil.copytree(backbone, root / "someone" / "backbone")
    for folder in root.glob("*/*"):  # what must not be fetched
        (folder / "pytorch_model.bin").write_bytes(b"a pickle")
        (folder / "modeling.py").write_text("raise SystemExit('code of a model was run')")
    with Hub(root) as server:
        yield server
        server.shutdown()


@pytest.fixture
def run(hub, tmp_path):
    def run(*arguments, **changes):
        environment = os.environ | {
            "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": str(REPOSITORY), "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "medvit", *map(str, arguments)], env=environment | changes, cwd=tmp_path,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(synthetic.draw("breastmnist", 1)).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


@pytest.mark.slow
def test_a_model_is_fetched_once_by_its_hub_id(hub, run, picture, tmp_path):
    first = run("explain", "someone/cats", picture)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "explained" / "index.html").is_file()
    assert sorted(hub.served) == [
        f"someone/cats/{name}" for name in ("config.json", "model.safetensors", "preprocessor_config.json")
    ]
    hub.served.clear()
    again = run("explain", "someone/cats", picture, HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout and not hub.served


@pytest.mark.slow
def test_a_model_of_timm_is_fetched_by_its_name(hub, run, picture):
    done = run("explain", "vit_tiny_patch16_224", picture)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split("  ")[-1] for line in done.stdout.splitlines()[:3]) == ["a", "b", "c"]
    name = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert sorted(hub.served) == [f"{name}/config.json", f"{name}/model.safetensors"]


@pytest.mark.slow
def test_a_backbone_is_fetched_for_training(hub, run, synthetic_root):
    done = run(
        "train", "--subset", "breastmnist", "--model", "vit_finetuned", "--backbone", "someone/backbone",
        "--data-root", synthetic_root, "--epochs", 1, "--no-trust", "--image-size", 32,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {name for name in hub.served if not name.endswith(".json")} == {
        "someone/backbone/model.safetensors"
    }


@pytest.mark.slow
def test_a_model_that_the_hub_does_not_have_is_one_sentence(hub, run, picture):
    done = run("explain", "someone/dogs", picture)
    assert done.returncode == 1
    assert "the model someone/dogs cannot be fetched from the Hugging Face hub" in done.stderr
    assert done.stderr.count("\n") <= 2 and "Traceback" not in done.stderr
