"""The API as MCP tools (--mcp): the same answers, the same limits, the same closed doors."""

import base64
import http.client
import json
from ast import literal_eval
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from medvit import limits
from medvit.data import synthetic

from .conftest import running_app

mcp = pytest.importorskip("mcp", reason="gradio[mcp] is not installed")
streamable_http = pytest.importorskip("mcp.client.streamable_http")


@pytest.fixture(scope="module")
def app(trained, tmp_path_factory):
    """Address of an app with tools, over one checkpoint."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app("--checkpoints", trained, "--mcp", log=log) as address:
        yield address
    assert "Traceback" not in log.read_text()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(synthetic.draw("breastmnist", 3)).save(path)
    return path


def asked(address, ask):
    """What `ask(session)` returns, in a thread of its own: Playwright keeps a loop running in this one."""

    async def ask_there():
        async with (
            streamable_http.streamablehttp_client(f"{address}/gradio_api/mcp/") as (reader, writer, _),
            mcp.ClientSession(reader, writer) as session,
        ):
            await session.initialize()
            return await ask(session)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, ask_there).result()


def call(address, tool, **arguments):
    """Whether the tool failed, and the text of its answer."""
    answer = asked(address, lambda session: session.call_tool(tool, arguments))
    return answer.isError, "".join(part.text for part in answer.content)


def data_url(content):
    return "data:image/png;base64," + base64.b64encode(content).decode()


def test_the_documented_endpoints_are_the_tools(app):
    tools = asked(app, lambda session: session.list_tools()).tools
    assert {tool.name for tool in tools} == {"predict", "explain", "confusion_matrix"}
    for tool in tools:
        assert "Answers with" in tool.description
        assert all(one.get("description") for one in tool.inputSchema["properties"].values())


def test_a_tool_answers_as_the_api_does(app, picture):
    client = Client(app, verbose=False)
    image = data_url(picture.read_bytes())
    for tool in ("predict", "explain"):
        failed, text = call(app, tool, subset="breastmnist", model="spt_lsa", image=image)
        assert not failed, text
        expected = client.predict("breastmnist", "spt_lsa", handle_file(picture), api_name=f"/{tool}")
        assert json.loads(json.dumps(literal_eval(text))) == expected
    failed, text = call(app, "confusion_matrix", subset="breastmnist", model="spt_lsa")
    assert not failed
    assert literal_eval(text) == client.predict("breastmnist", "spt_lsa", api_name="/confusion_matrix")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("/etc/passwd", "Invalid file data format"),
        ("file:///etc/passwd", "Invalid file data format"),
        ("http://127.0.0.1:1/secret", "Addresses are not fetched here"),
        (data_url(b"no picture"), "This is not an image"),
        (data_url(b"%PDF-1.7"), "This is not an image"),
        ({"path": "/etc/passwd"}, "not of type 'string'"),
    ],
)
def test_a_tool_opens_pictures_alone(app, image, said):
    failed, text = call(app, "predict", subset="breastmnist", model="spt_lsa", image=image)
    assert failed
    assert said in text
    assert "root:" not in text


def test_a_message_has_a_limit(app):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": "A" * limits.MCP_BYTES}
    body = json.dumps(message).encode()
    kind = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection = http.client.HTTPConnection(app.removeprefix("http://"), timeout=60)
    connection.request("POST", "/gradio_api/mcp/", body, kind)
    response = connection.getresponse()
    assert (response.status, response.read()) == (413, b"The request is larger than 4 MB.")
