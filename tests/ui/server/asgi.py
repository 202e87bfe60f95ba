"""Requests to the middleware without a server, around apps of a few lines."""

from medvit.ui.server import middleware

from .http import run_async


def respond(app, path="/gradio_api/run/predict", running=0, method="POST", headers=(), body=b""):
    """Status and text of the response of the middleware around an ASGI app to one request."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    layer = middleware.LimitsMiddleware(app)
    _, direct = layer.slots
    direct.by_address.update({"10.0.0.1": running})
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "path": path, "method": method, "headers": [(b"host", b"localhost"), *headers],
        "query_string": query.encode(), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    run_async(layer, scope, receive, send)
    assert direct.used == running
    assert layer.bodies.used == 0
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


async def fine(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


async def echo(scope, receive, send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})
