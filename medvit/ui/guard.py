"""What stands between the network and the app: a cap on every request body, and security headers."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medvit.images import MAX_BATCH_BYTES, MAX_BYTES
from medvit.ui.multipart import MAX_FIELDS, FieldBytes

MAX_BODY = MAX_BYTES + 2**20  # a picture, and the form around it
MAX_UPLOAD = MAX_BATCH_BYTES + 2**22  # a batch, on the one route that writes to disk as the bytes come
UPLOAD = "/gradio_api/upload"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    # Hugging Face shows a Space inside its own page.
    "content-security-policy": "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
}


class _TooLargeError(Exception):
    pass


class Guard:
    """ASGI middleware: answers 413 to a body over `MAX_BODY` bytes, declared or not, once that is known.

    Uploads may have `MAX_UPLOAD` bytes, of which no more than `MAX_FIELDS` outside of files.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received, started = 0, False
        headers = dict(scope["headers"])
        upload = scope["path"].rstrip("/").endswith(UPLOAD)
        limit = MAX_UPLOAD if upload else MAX_BODY
        field_bytes = FieldBytes(headers.get(b"content-type", b"")) if upload else None

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLargeError
            if field_bytes and field_bytes(message.get("body", b"")) > MAX_FIELDS:
                raise _TooLargeError
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        declared = headers.get(b"content-length", b"0")
        try:
            if declared.isdigit() and int(declared) > limit:
                raise _TooLargeError
            await self.app(scope, counted, with_headers)
        except _TooLargeError:
            if not started:
                text = f"The request is larger than {limit >> 20} MB.".encode()
                await send(
                    {"type": "http.response.start", "status": 413, "headers": [(b"connection", b"close")]}
                )
                await send({"type": "http.response.body", "body": text})
