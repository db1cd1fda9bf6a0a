"""`/api/v1/events` and `/api/v1/ws`: what happens, as it happens. What is said there is in `watching`."""

from taskd.http.exchange import Answer, Context, Live, Raw, Request
from taskd.http.forms import Nothing, query_of
from taskd.http.problems import Problem
from taskd.store.stream import Position

# No proxy is to keep what is sent for later.
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def events(_context: Context, request: Request) -> Answer:
    """The live stream as Server-Sent Events; with `Last-Event-ID` from there on, for an hour. Each is a `Message`."""
    query_of(Nothing, request)
    since = _since(request)
    return Answer(200, Raw(b"") if request.method == "HEAD" else Live(since), _HEADERS)


def socket(_context: Context, request: Request) -> Answer:
    """The live stream over a WebSocket; `{"action": "task_worker_status"}` is answered with each worker's ping."""
    query_of(Nothing, request)
    if request.headers.get("upgrade", "").lower() != "websocket":
        raise Problem(426, "this is a WebSocket: ask for the upgrade", {"Upgrade": "websocket"})
    return Answer(101, Live(_since(request)))


def _since(request: Request) -> Position | None:
    given = request.headers.get("last-event-id")
    try:
        return Position.read(given) if given else None
    except ValueError:
        raise Problem(400, "a Last-Event-ID is taken from the stream, as it stands there") from None
