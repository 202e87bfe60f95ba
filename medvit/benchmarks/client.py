"""A client of the HTTP API with one connection and one session, as cheap as Python has it."""

import http.client
import json
import math
import uuid
from typing import Any

ENDPOINTS = ("predict", "explain", "confusion_matrix")
REQUEST_ERRORS = (OSError, http.client.HTTPException, ValueError)
TOLERANCE = 1e-4  # of a probability; requests that share a forward pass are rounded differently
RELATIVE_TOLERANCE = 1e-5  # of a larger number, such as an out-of-distribution score of -300 in float32


class Client:
    """Asks a running app about one model.

    Raises (here and in `ask`):
        one of REQUEST_ERRORS: no connection, no answer, or an answer that reports an error.
    """

    def __init__(self, address: str, subset: str, model: str, timeout: float = 300) -> None:
        self.connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=timeout)
        self.session = uuid.uuid4().hex
        self.model = [subset, model]
        described = json.loads(self._request("GET", "/info"))["named_endpoints"]
        self.defaults = {}  # of the arguments after subset, model and image
        for name in ENDPOINTS:
            required = 2 if name == "confusion_matrix" else 3
            parameters = described[f"/{name}"]["parameters"][required:]
            self.defaults[name] = [parameter.get("parameter_default") for parameter in parameters]

    def ask(self, endpoint: str, image: bytes) -> Any:
        """One answer, as a browser gets it: upload, join the queue, wait."""
        data: list[Any] = list(self.model)
        if endpoint != "confusion_matrix":
            form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="image.png"\r\n\r\n'
            form += image + b"\r\n--x--\r\n"
            (path,) = json.loads(self._request("POST", "/upload", form, "multipart/form-data; boundary=x"))
            data.append({"path": path, "meta": {"_type": "gradio.FileData"}})
        body = {"data": data + self.defaults[endpoint], "session_hash": self.session}
        event = json.loads(self._request("POST", f"/call/{endpoint}", json.dumps(body).encode()))["event_id"]
        text = self._request("GET", f"/call/{endpoint}/{event}").decode()
        lines = text.strip().splitlines()
        if "event: complete" not in lines:
            raise ValueError(f"no answer: {text[-300:]}")
        return json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))

    def _request(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> bytes:
        self.connection.request(method, f"/gradio_api{path}", body, {"Content-Type": content_type})
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise ValueError(f"{path}: {response.status} {text[:300]!r}")
        return text


def same_answer(a: Any, b: Any) -> bool:
    """Whether two answers are equal, apart from rounding and the location of files."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = a.keys() - {"path", "url"}
        return a.keys() == b.keys() and all(same_answer(a[key], b[key]) for key in keys)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_answer, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE, abs_tol=TOLERANCE)
    return a == b
