"""Bodies are checked before the app gets them; uploads arrive in pieces."""

import json

import pytest
from starlette.datastructures import Headers

from medvit import limits
from medvit.ui.server.bodies import PARTS_AT_ONCE, BodyLimiter
from medvit.ui.server.responses import RefusedError
from medvit.ui.server.shares import FairShare

from .asgi import echo, fine, respond
from .http import form, run_async


def test_a_body_is_passed_on_unchanged():
    body = json.dumps({"data": ["a" * 1000], "session_hash": "abc", "fn_index": 3}).encode()
    assert respond(echo, body=body) == (200, body.decode())
    assert respond(echo, body=b"no json") == (200, "no json")


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"session_hash": "x" * 65}, 400),
        ({"session_hash": "x" * 64}, 200),
        ({"session_hash": ["x"]}, 400),
        ({"session_hash": "../x"}, 400),
        ({"trigger_id": "1"}, 400),
        ({"trigger_id": 10**30}, 400),
        ({"fn_index": 1.5}, 400),
        ({"event_id": "x" * 65}, 400),
        ({"event_data": {"value": "x" * limits.EVENT_DATA_BYTES}}, 413),
        ({"event_data": {"index": [1, 2], "value": "Explore"}}, 200),
        ({"data": [[0]] * (limits.JSON_ELEMENTS // 2)}, 413),
        ({"data": ["[,{" * limits.JSON_ELEMENTS]}, 200),  # inside a string
        ({"data": [{"path": "a"}] * (limits.UPLOAD_FILES + 1)}, 413),
        ({"data": ["\0"]}, 400),
    ],
    ids=str,
)
def test_values_that_the_server_keeps_have_a_type_and_a_size(values, status):
    assert respond(fine, body=json.dumps(values).encode())[0] == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 413),
        (b"[" * 1000, 400),
        (b'{"a":' * 33 + b"1" + b"}" * 33, 400),
        (b'{"a":' * 31 + b"1" + b"}" * 31, 200),
        (b'{"a": "\\ud800"}', 400),
        (b'{"a": ', 400),
        (b'"' + b'\\"' * 1_000_000, 200),  # an unfinished string; checked in linear time
    ],
    ids=["flood", "deep", "33 levels", "31 levels", "lone surrogate", "unfinished", "unfinished string"],
)
def test_json_has_a_depth_and_a_number_of_values(body, status):
    assert respond(fine, body=body)[0] == status


def receive_pieces(body, kind):
    """What the app gets of an upload that arrives at once."""
    headers = Headers({"content-type": kind["Content-Type"], "content-length": str(len(body))})
    pieces = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def read():
        limiter = BodyLimiter(receive, "/gradio_api/upload", headers, FairShare(10**9), "a")
        await limiter.read_ahead()
        while not limiter.complete:
            message = await limiter()
            pieces.append(message["body"])
        assert not message["more_body"]

    run_async(read)
    return pieces


def test_uploads_of_many_files_are_passed_on_in_pieces_of_few():
    body, kind = form({f"{i}.png": bytes(100) for i in range(500)})
    pieces = receive_pieces(body, kind)
    assert b"".join(pieces) == body
    assert max(piece.count(b"Content-Disposition") for piece in pieces) <= 2 * PARTS_AT_ONCE


def test_an_upload_of_one_large_file_is_passed_on_as_it_arrives():
    body, kind = form({"a.zip": bytes(300_000)})
    assert receive_pieces(body, kind) == [body]


def test_too_many_files_are_refused_though_they_arrive_at_once():
    body, kind = form({f"{i}.png": b"x" for i in range(limits.UPLOAD_FILES + 1)})
    with pytest.raises(RefusedError, match="files"):
        receive_pieces(body, kind)
