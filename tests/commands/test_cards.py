import shutil

from medvit.checkpoint import load
from medvit.evaluation import model_card
from tests.conftest import run_command


def test_a_card_is_written_into_each_folder_and_a_damaged_one_is_reported(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "breastmnist" / "spt_lsa"
    shutil.copytree(folder, tmp_path / "breastmnist" / "damaged")
    (tmp_path / "breastmnist" / "damaged" / "model.safetensors").write_bytes(b"")
    done = run_command("cards", "--checkpoints", tmp_path)
    assert (done.returncode, done.stdout) == (1, "1 cards written\n")
    assert "medvit cards: left out: " in done.stderr
    assert (folder / "README.md").read_text() == model_card.markdown(load(folder))
