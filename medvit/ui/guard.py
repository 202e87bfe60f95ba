"""What stands between the network and the app: a cap on every request body, and security headers."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medvit.images import MAX_BYTES

MAX_BODY = MAX_BYTES + 2**20  # a picture, and the form around it
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    # Hugging Face shows a Space inside its own page.
    "content-security-policy": "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
}


class _TooLargeError(Exception):
    pass


class Guard:
    """ASGI middleware: answers 413 to a body over `MAX_BODY` bytes, declared or not, once that is known."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise _TooLargeError
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if declared.isdigit() and int(declared) > MAX_BODY:
                raise _TooLargeError
            await self.app(scope, counted, with_headers)
        except _TooLargeError:
            if not started:
                text = f"The request is larger than {MAX_BODY >> 20} MB.".encode()
                await send(
                    {"type": "http.response.start", "status": 413, "headers": [(b"connection", b"close")]}
                )
                await send({"type": "http.response.body", "body": text})
