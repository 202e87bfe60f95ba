import pytest
from PIL import Image

from medvit.commands import explain
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference import bulk
from tests.conftest import run_command


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray(synthetic.draw("breastmnist", 1)).resize((90, 90)).save(path)
    return path


def test_it_prints_the_classes_of_one_picture_and_writes_a_page(trained, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_command("explain", trained / "breastmnist" / "spt_lsa", image)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sorted(line.split("  ")[-1] for line in lines[:2]) == ["malignant", "normal, benign"]
    assert lines[2].startswith("Relevance for ")
    assert lines[3] == "explained/index.html"
    assert Image.open(tmp_path / "explained" / "0001-scan-relevance.png").size == (336, 336)


def test_a_folder_of_pictures_for_a_model_of_another_program(own_models, image, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    out = tmp_path / "new" / "maps"
    done = run_command("explain", own_models / "timm", tmp_path, "--method", "rollout", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "Rollout: 1 picture; 1 file could not be read, see the page."
    assert (out / "index.html").is_file()


def test_what_an_earlier_run_wrote_is_left_out(tmp_path):
    scan, out = tmp_path / "scan.png", tmp_path / "explained"
    written = out / "0001-scan-rollout.png"
    files = [bulk.File(path.name, path, None, 1) for path in (scan, written)]
    without_output = explain._without_output
    assert without_output(files, [tmp_path], out) == files[:1]
    assert without_output(files, [written, scan], out) == files
    with pytest.raises(MedvitError, match="The only files are those that an earlier run wrote"):
        without_output(files[1:], [tmp_path], out)


def test_maps_are_not_written_among_pictures_nor_over_another_page(tmp_path):
    with pytest.raises(MedvitError, match="cannot be written among the pictures"):
        explain._without_output([], [tmp_path], tmp_path / ".")
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("<title>medvit</title>")
    with pytest.raises(MedvitError, match="is not a page of this command"):
        explain._without_output([], [tmp_path / "scan.png"], out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "flu"], "There is no class 'flu'. The classes are 0 to 1: malignant, normal, benign."),
        (["--target", "2"], "There is no class '2'"),
        (["--target", "0", "--method", "rollout"], "rollout is the same for every class. Leave --target out"),
        (["--out", "/proc/maps-of-medvit"], "cannot be written"),
    ],
)
def test_impossible_options_are_refused_in_a_sentence(trained, image, arguments, words):
    done = run_command("explain", trained / "breastmnist" / "spt_lsa", image, *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_unknown_models_and_images_are_refused_in_a_sentence(trained, image, tmp_path):
    model = trained / "breastmnist" / "spt_lsa"
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no picture")
    for arguments in ([model, tmp_path / "none.png"], [tmp_path / "no-model", image], [model, damaged]):
        done = run_command("explain", *arguments, "--out", tmp_path / "out")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith("medvit explain: ")
    assert not (tmp_path / "out" / "index.html").exists()
