"""Plain HTTP requests to a server on this machine."""

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import anyio

BOUNDARY = "medvit-test"
JSON = {"Content-Type": "application/json"}


def request(address, method, path, body=None, headers=None, source="127.0.0.1"):
    """Status, headers and body of one response, to a client with the address `source`."""
    connection = http.client.HTTPConnection(
        address.removeprefix("http://"), timeout=60, source_address=(source, 0)
    )
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def form(files: dict[str, bytes], field: str = "files") -> tuple[bytes, dict[str, str]]:
    """Body and headers of an upload."""
    parts = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return parts + f"--{BOUNDARY}--\r\n".encode(), kind


def predict(address, image):
    """POST /predict with any value for the image; the text of the event stream."""
    body = json.dumps({"data": ["breastmnist", "spt_lsa", image]})
    status, _, answer = request(address, "POST", "/gradio_api/call/predict", body, JSON)
    assert status == 200, answer
    event = json.loads(answer)["event_id"]
    return request(address, "GET", f"/gradio_api/call/predict/{event}")[2].decode()


def connect(address: str, timeout: float = 30) -> socket.socket:
    """A plain connection to the server."""
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=timeout)


def received(connection: socket.socket) -> bytes:
    """Everything that arrives until the server closes the connection."""
    chunks = []
    try:
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    except ConnectionError:
        pass
    return b"".join(chunks)


def run_async(function, *arguments):
    """Result of an async function, in a thread of its own: Playwright keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, function, *arguments).result()


def with_descriptors(count: int) -> str:
    """Code that runs the app with this many file descriptors; see `running_app`."""
    return (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count}))\n"
        "from medvit import cli\n"
        "cli.main(['app', *sys.argv[1:]])\n"
    )
