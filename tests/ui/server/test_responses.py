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
