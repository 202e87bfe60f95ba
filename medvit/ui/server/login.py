"""What the server does for a login beyond Gradio: slow down guessing, and close the routes it leaves open."""

import base64
import secrets
import time
from collections import OrderedDict, deque
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.types import Scope

from medvit import limits
from medvit.ui.server.responses import RefusedError

ADDRESSES = 10_000  # remembered at once
# Routes that Gradio answers without a login. It calls "/startup-events" itself when it is launched; that one
# stays open, as it does nothing afterwards.
OPEN_ROUTES = ("/app_id", "/cancel", "/reset", "/heartbeat")


class LoginThrottle:
    """Refuses further attempts from an address that sent too many wrong passwords."""

    def __init__(self, attempts: int = limits.LOGIN_ATTEMPTS, seconds: float = limits.LOGIN_SECONDS):
        self.attempts = attempts
        self.seconds = seconds
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, address: str) -> None:
        """Count an attempt as failed until `succeed`; raises RefusedError (429) beyond the limit.

        Args:
            address: as by `shares.network`.
        """
        times = self._failures.setdefault(address, deque())
        self._failures.move_to_end(address)
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
        now = time.monotonic()
        while times and now - times[0] > self.seconds:
            times.popleft()
        if len(times) >= self.attempts:
            wait = int(self.seconds - (now - times[0])) + 1
            raise RefusedError(
                429, f"Too many wrong passwords. Try again in {wait} seconds.", {"retry-after": str(wait)}
            )
        times.append(now)

    def succeed(self, address: str) -> None:
        """Forget the failures of an address."""
        self._failures.pop(address, None)


def is_logged_in(scope: Scope) -> bool:
    """Whether Gradio's app needs no login, or knows the token in the cookie of a request."""
    app = scope["app"]
    if app.auth is None:
        return True
    try:
        cookies = SimpleCookie(Headers(scope=scope).get("cookie", ""))
    except CookieError:
        return False
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(name in cookies and cookies[name].value in app.tokens for name in names)


def has_basic_login(scope: Scope) -> bool:
    """Whether the Authorization header of a request has the user and password, as Prometheus sends them."""
    scheme, _, encoded = Headers(scope=scope).get("authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return False
    expected = scope["app"].auth.get(user, "")
    same = secrets.compare_digest(password.encode(), expected.encode())
    return scheme.lower() == "basic" and same and bool(expected)
