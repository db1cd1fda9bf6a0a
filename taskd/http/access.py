"""What no request may look like, whoever sends it: a web page's, in a browser of this machine.

attack                                     refused by
a name of the attacker's that resolves     `Host` is none of this machine's names nor in http.allowed_hosts: 421,
to 127.0.0.1 (DNS rebinding)               before anything else is looked at
a form or script of another site           `Origin` isn't the address that was asked, or `Sec-Fetch-Site` says so: 403
a form that needs no script                its content type isn't application/json: 415
a page that reads the answers              no CORS headers, ever; the live stream, which a WebSocket would carry to
                                           any page, is refused to those of other sites as writes are: 403

A write without a body needs no content type (`curl -X POST` sends none, other clients one of their own): a page
can't leave out the `Origin` of a POST, and what forms send is refused all the same.
No browser reaches a Unix socket, whose file mode says who may; so any `Host` is fine there, the rest holds.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from taskd.http.problems import Problem

READS = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = {
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
}  # need no consent of ours (CORS)
_OWN_SITE = {None, "same-origin", "none"}


def check_host(host: str | None, allowed_hosts: Collection[str]) -> None:
    """Raise Problem (421) unless `host`, a header's value, names this machine or is allowed."""
    name = _name_of(host or "")
    if not (_is_loopback(name) or name in {allowed.lower() for allowed in allowed_hosts}):
        raise Problem(
            421, "this host name isn't served here: use a loopback address, or add it to http.allowed_hosts"
        )


def check_write(headers: Mapping[str, str], allowed_hosts: Collection[str], *, empty: bool) -> None:
    """Raise Problem (403, 415) for a write that another site may be behind. `headers` are case-insensitive."""
    check_origin(headers, allowed_hosts)
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in _FORMS or (kind != "application/json" and not empty):
        raise Problem(415, "a body must come as Content-Type: application/json")


def check_origin(headers: Mapping[str, str], allowed_hosts: Collection[str]) -> None:
    """Raise Problem (403) for what another site's page asks."""
    if not _is_own(headers.get("Origin"), headers.get("Host"), allowed_hosts) or (
        headers.get("Sec-Fetch-Site") not in _OWN_SITE
    ):
        raise Problem(403, "a request from another site's page is refused")


def _is_own(origin: str | None, host: str | None, allowed_hosts: Collection[str]) -> bool:
    if origin is None:
        return True
    asked = origin.partition("://")[2].lower()
    return bool(asked) and (
        asked == (host or "").lower() or _name_of(asked) in {h.lower() for h in allowed_hosts}
    )


def _name_of(host: str) -> str:
    """The host of `host[:port]` without brackets, lower case; empty if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
