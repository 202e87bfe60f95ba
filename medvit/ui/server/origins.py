"""Which names, pages and proxies the server trusts.

- Host: a page elsewhere can point a name of its own at this server (DNS rebinding) and read what it shows.
  Only known names are served; an IP address cannot be rebound.
- Origin: pages of other origins may not send requests that change anything, nor read responses, unless they
  are allowed for embedding.
- X-Forwarded-* headers count only behind a proxy that sets them.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from medvit.errors import MedvitError
from medvit.ui.server.hosting import in_space
from medvit.ui.server.responses import RefusedError, malformed

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Hugging Face shows a Space inside its own page.
SPACE_FRAMES = "https://huggingface.co https://*.hf.space"


@dataclass(frozen=True)
class OriginPolicy:
    """Names, origins and proxy headers that requests may use.

    Args:
        hosts: names of this server, besides localhost, its host name and any IP address.
        origins: of pages that may embed this app and call it, such as "https://example.org".
        proxy: whether a reverse proxy in front of the server sets X-Forwarded-*.
        space: whether this runs in a Hugging Face Space, which has a proxy and a name of its own.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    proxy: bool = False
    space: bool = False
    local_names: frozenset[str] = field(
        default_factory=lambda: frozenset({"localhost", socket.gethostname().lower()})
    )

    @classmethod
    def of(
        cls, hosts: Iterable[str] = (), origins: Iterable[str] = (), proxy: bool = False
    ) -> "OriginPolicy":
        """Check the values of --allow-host, --allow-origin and --proxy.

        Raises:
            MedvitError: a value is not a host name or an origin.
        """
        for origin in origins:
            try:
                parts = urlsplit(origin)
            except ValueError:  # half of an IPv6 address
                parts = urlsplit("")
            if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin:
                raise MedvitError(f"{origin!r} is not an origin. Give it as https://example.org.")
        for host in hosts:
            if not host or set(host) & set("/:@ *"):
                raise MedvitError(f"{host!r} is not a host name. Give it as app.example.org.")
        space = in_space()
        names = {host.lower() for host in (*hosts, os.environ.get("SPACE_HOST", "")) if host}
        return cls(frozenset(names), frozenset(map(str.lower, origins)), proxy or space, space)

    @property
    def frame_ancestors(self) -> str:
        """Value of the header content-security-policy."""
        return " ".join(["frame-ancestors 'self'", SPACE_FRAMES, *sorted(self.origins)])

    @property
    def same_site(self) -> str:
        """SameSite attribute of cookies: other sites send them only where they may embed the app."""
        return "none" if self.origins or self.space else "lax"

    def check(self, scope: Scope) -> str | None:
        """Check Host and Origin of a request, and remove the headers that must not count.

        Returns:
            the origin, where it is an allowed foreign one.

        Raises:
            RefusedError: an unknown host, or a foreign origin that sends an unsafe method.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.proxy:
            host = headers.get("x-forwarded-host", host).split(",")[0].strip()
        if not self._is_known(host):
            raise RefusedError(421, "This server does not serve that host name; --allow-host adds one.")
        origin = headers.get("origin")
        dropped = {b"origin"} if self.proxy else {b"origin", b"forwarded"}
        scope["headers"] = [
            (name, value)
            for name, value in scope["headers"]
            if name not in dropped and (self.proxy or not name.startswith(b"x-forwarded-"))
        ]
        try:
            if origin is None or urlsplit(origin).netloc.lower() == host.lower():
                return None
        except ValueError:  # no browser sends such an origin
            raise malformed() from None
        if origin.lower() in self.origins:
            return origin
        if scope["method"] not in SAFE_METHODS or "access-control-request-method" in headers:
            raise RefusedError(403, "Pages of other origins may not use this app; --allow-origin allows one.")
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self.hosts or name in self.local_names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def cors_headers(self, origin: str, requested: str | None) -> dict[str, str]:
        """Headers that let a page of an allowed origin read the response."""
        headers = {
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "vary": "Origin",
        }
        if requested is not None:
            headers |= {
                "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
                "access-control-allow-headers": requested,
                "access-control-max-age": "600",
            }
        return headers

    def set_headers(self, headers: MutableHeaders, origin: str | None) -> None:
        """Set CORS, framing and cookie attributes on a response."""
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]
        headers.setdefault("content-security-policy", self.frame_ancestors)
        if origin:
            headers.update(self.cors_headers(origin, None))
        cookies = headers.getlist("set-cookie")
        if cookies:
            del headers["set-cookie"]
            for cookie in cookies:
                headers.append("set-cookie", self._restrict(cookie))

    def _restrict(self, cookie: str) -> str:
        """A cookie with our SameSite attribute in place of its own; without "Secure" it cannot be "none"."""
        parts = [part for part in cookie.split("; ") if not part.lower().startswith("samesite=")]
        same_site = self.same_site if "secure" in map(str.lower, parts) else "lax"
        return "; ".join([*parts, f"SameSite={same_site}"])
