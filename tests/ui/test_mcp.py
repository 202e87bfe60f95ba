"""The API as MCP tools (--mcp): the same results and the same limits."""

import base64
import json
from ast import literal_eval

import pytest
from gradio_client import Client, handle_file
from PIL import Image

from medvit import limits
from medvit.data import synthetic
from tests.conftest import running_app

from .server.http import request, run_async

mcp = pytest.importorskip("mcp", reason="gradio[mcp] is not installed")
streamable_http = pytest.importorskip("mcp.client.streamable_http")

pytestmark = pytest.mark.server
MODEL = {"subset": "breastmnist", "model": "spt_lsa"}


@pytest.fixture(scope="module")
def address(trained, tmp_path_factory):
    """Address of an app with tools."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app("--checkpoints", trained, "--mcp", log=log) as address:
        yield address
    assert "Traceback" not in log.read_text()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(synthetic.draw("breastmnist", 3)).save(path)
    return path


def in_session(address, use):
    """Result of `await use(session)`."""

    async def connect():
        async with (
            streamable_http.streamablehttp_client(f"{address}/gradio_api/mcp/") as (reader, writer, _),
            mcp.ClientSession(reader, writer) as session,
        ):
            await session.initialize()
            return await use(session)

    return run_async(connect)


def call(address, tool, **arguments):
    """Whether the tool failed, and its text."""
    result = in_session(address, lambda session: session.call_tool(tool, arguments))
    return result.isError, "".join(part.text for part in result.content)


def data_url(content):
    return "data:image/png;base64," + base64.b64encode(content).decode()


def test_the_documented_endpoints_are_the_tools(address):
    tools = in_session(address, lambda session: session.list_tools()).tools
    assert {tool.name for tool in tools} == {"predict", "explain", "confusion_matrix"}
    for tool in tools:
        assert "Returns" in tool.description
        assert all(value.get("description") for value in tool.inputSchema["properties"].values())


def test_a_tool_returns_what_the_api_does(address, picture):
    client = Client(address, verbose=False)
    image = data_url(picture.read_bytes())
    for tool in ("predict", "explain"):
        failed, text = call(address, tool, **MODEL, image=image)
        assert not failed, text
        expected = client.predict(*MODEL.values(), handle_file(picture), api_name=f"/{tool}")
        assert json.loads(json.dumps(literal_eval(text))) == expected
    failed, text = call(address, "confusion_matrix", **MODEL)
    assert not failed
    assert literal_eval(text) == client.predict(*MODEL.values(), api_name="/confusion_matrix")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("/etc/passwd", "Invalid file data format"),
        ("file:///etc/passwd", "Invalid file data format"),
        ("http://127.0.0.1:1/secret", "Addresses are not fetched here"),
        (data_url(b"no picture"), "not an image"),
        (data_url(b"%PDF-1.7"), "not an image"),
        ({"path": "/etc/passwd"}, "not of type 'string'"),
    ],
)
def test_a_tool_opens_only_pictures_that_it_is_sent(address, image, message):
    failed, text = call(address, "predict", **MODEL, image=image)
    assert failed
    assert message in text
    assert "root:" not in text


def test_a_message_has_a_limit(address):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": "A" * limits.MCP_BYTES}
    kind = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    status, _, text = request(address, "POST", "/gradio_api/mcp/", json.dumps(message), kind)
    assert (status, text) == (413, b"The request is larger than 4 MB.")
