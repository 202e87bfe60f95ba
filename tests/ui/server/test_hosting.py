import pytest

from medvit.errors import MedvitError
from medvit.ui.server import hosting


@pytest.mark.parametrize("text", ["", "reader", "reader:", ":secret"])
def test_an_unusable_login_is_refused_without_repeating_it(text):
    with pytest.raises(MedvitError, match="USER:PASSWORD") as refused:
        hosting.parse_login(text)
    assert "secret" not in str(refused.value)


def test_a_password_may_contain_colons():
    assert hosting.parse_login("reader:a:b") == ("reader", "a:b")
    assert hosting.parse_login(None) is None


def test_mcp_and_a_login_exclude_each_other():
    with pytest.raises(MedvitError, match="need none"):
        hosting.check_mcp(("user", "password"))


def test_mcp_without_its_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(hosting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MedvitError, match=r"pip install 'gradio\[mcp\]'"):
        hosting.check_mcp(None)


def test_outside_of_a_space_no_gpu_is_declared():
    assert not hosting.in_space()
    hosting.declare_gpu()
