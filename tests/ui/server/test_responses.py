import pytest

from medvit.ui.server.responses import hide_folders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "The checkpoint /srv/app/checkpoints/breastmnist/cnn is damaged.",
            "The checkpoint breastmnist/cnn is damaged.",
        ),
        ("Save it as /root/.medmnist/x.npz (md5 1)", "Save it as .medmnist/x.npz (md5 1)"),
        ("in 'C:\\data\\app\\x\\y.npz'", "in 'x\\y.npz'"),
        (
            "from https://zenodo.org/records/1/files/x.npz",
            "from https://zenodo.org/records/1/files/x.npz",
        ),
        ("checkpoints/breastmnist/cnn", "checkpoints/breastmnist/cnn"),
        ("and/or 1/2/3", "and/or 1/2/3"),
        ("/x is not a path", "/x is not a path"),
    ],
)
def test_a_message_names_no_folder_of_the_server(text, expected):
    assert hide_folders(text) == expected


def test_spaces_in_the_name_of_the_working_directory(tmp_path, monkeypatch):
    folder = tmp_path / "two words"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert hide_folders(f"{folder / 'own' / 'a b' / 'cnn'} is damaged.") == "own/a b/cnn is damaged."
    monkeypatch.chdir("/")
    assert hide_folders("from https://example.org/x") == "from https://example.org/x"
