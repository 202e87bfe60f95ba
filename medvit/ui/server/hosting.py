"""Options of a host: a login, MCP tools, Hugging Face Spaces with ZeroGPU."""

import importlib.util
import os

from medvit.errors import MedvitError


def parse_login(text: str | None) -> tuple[str, str] | None:
    """Split USER:PASSWORD as Gradio takes it; None stays None.

    Raises:
        MedvitError: not of that form. The message does not repeat the text.
    """
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise MedvitError("The login is not usable: give it as USER:PASSWORD, neither of them empty.")
    return user, password


def check_mcp(login: tuple[str, str] | None) -> None:
    """Raise MedvitError if the package for --mcp is missing, or a login is required."""
    if login:
        raise MedvitError("--mcp cannot be combined with a login: its tools need none. Choose one.")
    if importlib.util.find_spec("mcp") is None:
        raise MedvitError("--mcp needs a package that is missing. Install it: pip install 'gradio[mcp]'")


def check_metrics() -> None:
    """Raise MedvitError if the package for --metrics is missing."""
    if importlib.util.find_spec("prometheus_client") is None:
        raise MedvitError(
            "--metrics needs a package that is missing. Install it: pip install prometheus-client"
        )


def in_space() -> bool:
    """Whether this runs on Hugging Face Spaces."""
    return "SPACE_ID" in os.environ


def declare_gpu() -> None:
    """Satisfy ZeroGPU, which refuses to start a Space without a GPU function.

    The models take milliseconds on its CPU, while a GPU function starts a process: it is never called.
    """
    if importlib.util.find_spec("spaces") is None:
        return
    import spaces  # exists in ZeroGPU Spaces only

    @spaces.GPU(duration=5)
    def unused() -> None:
        """Declared, never called."""
