"""What a host may ask for: a login, MCP tools, a place on Hugging Face Spaces."""

import importlib.util
import os

from medvit.errors import MedvitError


def credentials(text: str | None) -> tuple[str, str] | None:
    """USER:PASSWORD as Gradio takes it; None where there is none. The text is never repeated.

    Raises:
        MedvitError: not of that form.
    """
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise MedvitError("The login is not usable: give it as USER:PASSWORD, neither of them empty.")
    return user, password


def check_mcp(login: tuple[str, str] | None) -> None:
    """Raises MedvitError where the packages for --mcp are missing, or a login is asked for."""
    if login:
        raise MedvitError("--mcp does not go with a login: its tools would answer without. Choose one.")
    if importlib.util.find_spec("mcp") is None:
        raise MedvitError("--mcp needs a package that is missing. Install it: pip install 'gradio[mcp]'")


def in_space() -> bool:
    """Whether this runs on Hugging Face Spaces."""
    return "SPACE_ID" in os.environ


def declare_gpu() -> None:
    """Satisfy ZeroGPU, which refuses to start a Space that has no function for its GPU.

    The models here answer in milliseconds on its CPU, while calling a GPU function starts a process: none is
    called.
    """
    if importlib.util.find_spec("spaces") is None:
        return
    import spaces

    @spaces.GPU(duration=5)
    def unused() -> None:
        """Declared, never called."""
