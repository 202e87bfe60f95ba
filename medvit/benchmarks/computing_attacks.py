"""Attacks that make a running app compute: large pictures, bulk jobs, slow maps; see `benchmarks.attacks`."""

import asyncio
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image

from medvit.benchmarks.attacks import API, CLIENTS, FORM, JSON, SECONDS, Target, bounded, swarm, upload_part

LARGE = (8000, 3990)  # just below the limit of pixels


def large_picture() -> bytes:
    """A WebP of a few kilobytes with 32 million pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", LARGE, "teal").save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()


def noise_picture() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)).save(data, "PNG")
    return data.getvalue()


def packed(content: bytes, count: int, name: str = "{}.webp") -> bytes:
    """A zip with `count` copies of one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number in range(count):
            archive.writestr(name.format(number), content)
    return buffer.getvalue()


async def upload(target: Target, name: str, content: bytes, number: int = 0) -> dict[str, Any]:
    """Upload a file; return what an event takes in its place."""
    form = upload_part(name) + content + b"\r\n--x--\r\n"
    _, text = await target.request("POST", f"{API}/upload", form, FORM, number)
    return {"path": json.loads(text)[0], "meta": {"_type": "gradio.FileData"}}


class Page:
    """The app's page as a browser has it open: its events by what they do, and a session."""

    def __init__(self, target: Target, number: int = 0):
        self.target = target
        self.number = number
        self.session = uuid.uuid4().hex
        self.components: dict[int, Any] = {}
        self.load: dict[str, Any] = {}
        self.bulk: dict[str, Any] = {}

    async def open(self) -> None:
        """Load the page, which selects the first dataset and model."""
        _, text = await self.target.request("GET", "/config", number=self.number)
        config = json.loads(text)
        self.components = {component["id"]: component for component in config["components"]}
        for event in config["dependencies"]:
            names = {(self.value(id_), trigger) for id_, trigger in event["targets"]}
            if ("Classify all", "click") in names:
                self.bulk = event
            elif any(trigger == "load" for _, trigger in names) and self._has(event, "dropdown"):
                self.load = event
        await self.join(self.load)
        await self.read_messages()

    def value(self, component: int) -> str | None:
        """The text that a component starts with."""
        value = self.components.get(component, {}).get("props", {}).get("value")
        return value if isinstance(value, str) else None

    def _has(self, event: dict[str, Any], kind: str) -> bool:
        return any(self.components[id_]["type"] == kind for id_ in event["inputs"])

    async def join(self, event: dict[str, Any], files: list[dict[str, Any]] | None = None) -> int:
        """Start an event; its file input gets `files`. Returns the status of the response."""
        kinds = [self.components[id_]["type"] for id_ in event["inputs"]]
        data = [
            files if kind == "file" else None if kind == "state" else self.value(id_)
            for id_, kind in zip(event["inputs"], kinds, strict=True)
        ]
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session}
        status, _ = await self.target.request(
            "POST", f"{API}/queue/join", json.dumps(body).encode(), JSON, self.number
        )
        return status

    async def read_messages(self, seconds: float = 60, until: str = "process_completed") -> bytes:
        """Read messages for a time, or until one of a kind comes; then leave. Returns what was read."""
        reader, writer = await self.target.connect(self.number)
        messages = b""
        try:
            writer.write(self.target.head("GET", f"{API}/queue/data?session_hash={self.session}"))
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while until.encode() not in messages and (part := await reader.read(65536)):
                        messages += part
        finally:
            writer.close()
        return messages


def large_pictures(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """100 tasks that ask for the prediction of a WebP of a few kilobytes and 32 million pixels."""

    async def attack(target: Target) -> None:
        page = Page(target)
        await page.open()
        names = [page.value(id_) for id_ in page.load["inputs"] if page.components[id_]["type"] == "dropdown"]
        picture = await upload(target, "large.webp", large_picture())
        body = json.dumps({"data": [*names, picture]}).encode()

        async def session(target: Target, number: int) -> None:
            _, text = await target.request("POST", f"{API}/call/predict", body, JSON, number)
            event = json.loads(text)["event_id"]
            await target.request("GET", f"{API}/call/predict/{event}", number=number)

        await swarm(target, session, 100)

    bounded(attack, url, seconds, clients)


def bulk_jobs(url: str, seconds: float = SECONDS, clients: int = 8) -> None:
    """16 tasks that start jobs of 2,000 large pictures; half of them leave after 2 s, half never listen."""
    content = packed(large_picture(), 2000)

    async def session(target: Target, number: int) -> None:
        page = Page(target, number)
        await page.open()
        await page.join(page.bulk, [await upload(target, "many.zip", content, number)])
        await (asyncio.sleep(2) if number % 2 else page.read_messages(2))

    bounded(lambda target: swarm(target, session, 16), url, seconds, clients)


def hidden_entries(url: str, seconds: float = SECONDS, clients: int = 8) -> None:
    """16 tasks that start jobs over a zip of 65,000 hidden entries."""
    content = packed(b"", 65_000, ".{}")

    async def session(target: Target, number: int) -> None:
        page = Page(target, number)
        await page.open()
        await page.join(page.bulk, [await upload(target, "hidden.zip", content, number)])
        await page.read_messages(10)

    bounded(lambda target: swarm(target, session, 16), url, seconds, clients)


def full_queue(url: str, seconds: float = SECONDS, clients: int = 1) -> None:
    """One client asks for the slowest explanation all the time, on 100 tasks, and reads no answer."""
    picture = noise_picture()

    async def attack(target: Target) -> None:
        _, text = await target.request("GET", "/config")
        values = [
            part["props"].get("value")
            for part in json.loads(text)["components"]
            if part["type"] == "dropdown" and part["props"].get("label") in ("Dataset", "Model")
        ]
        body = {"data": [*values, await upload(target, "image.png", picture), "occlusion", -1, None, ""]}

        async def session(target: Target, number: int) -> None:
            await target.request("POST", f"{API}/call/explain", json.dumps(body).encode(), JSON, number)

        await swarm(target, session, 100)

    bounded(attack, url, seconds, clients)


COMPUTING_ATTACKS: dict[str, Callable[..., None]] = {
    attack.__name__: attack for attack in (large_pictures, bulk_jobs, hidden_entries, full_queue)
}
