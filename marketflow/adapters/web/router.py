"""From a request to its handler: a table that reads like the brief, and one way out for errors."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, NamedTuple

from marketflow.adapters.web.delivery import Delivery
from marketflow.adapters.web.failures import Refused, problem, problem_of
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.query import decode
from marketflow.adapters.web.response import Response
from marketflow.domain.errors import MarketflowError

log = logging.getLogger(__name__)

_MAX_WAITING = 256  # questions that may wait for the pool
_REMEMBERED = 1024  # paths
_EVERYTHING = ("Allow", "GET, HEAD, OPTIONS, POST")


class Later(NamedTuple):
    """A handler's promise: *work* may block, so it runs on the pool."""

    work: Callable[[], Response]


class Parked(NamedTuple):
    """A handler's promise: *answer* makes the answer of what *future* comes to, on its thread."""

    future: Future[Any]
    answer: Callable[[Any], Response]


Handler = Callable[..., Response | Later | Parked]
Guard = Callable[[Request], None]


class Route:
    """A template such as `/prices/latest/{symbol}` and its handlers by method."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.handlers: dict[str, Handler] = {}

    @property
    def allow(self) -> tuple[str, str]:
        """The header that names the methods."""
        return "Allow", ", ".join(sorted({*self.handlers, "OPTIONS"}))


class _Node:
    """One level of the tree of path segments."""

    __slots__ = ("literals", "parameter", "route")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.route: Route | None = None


class Router:
    """The application behind the server: every request becomes exactly one answer."""

    def __init__(
        self,
        table: Mapping[str, Handler],
        *,
        pool: Executor,
        guards: Iterable[Guard] = (),
        origins: Iterable[str] = (),
    ) -> None:
        self._root = _Node()
        self._found: dict[str, tuple[Route, list[str]]] = {}  # by path
        self._deliver = Delivery(origins)
        self._pool = pool
        self._guards = tuple(guards)
        self._places = threading.Semaphore(_MAX_WAITING)
        for line, handler in table.items():
            method, template = line.split(" ")
            self._add(method, template, handler)

    def __call__(self, request: Request) -> Response | Future[Response]:
        """Answer *request*, or promise to."""
        answer = self._answer(request)
        if isinstance(answer, Response):
            return self._deliver(request, answer)
        if isinstance(answer, Parked):
            return self._park(answer, request)
        return self._submit(answer, request)

    def _answer(self, request: Request) -> Response | Later | Parked:
        try:
            for guard in self._guards:
                guard(request)
            path = request.path
            if request.target == "*":
                return Response(204, headers=(_EVERYTHING,))
            route, values = self._found.get(path) or self._find(path)
            request.route = route.template
            handler = route.handlers.get(request.method)
            if handler is None:
                return _without_handler(request, route)
            return handler(request, *values)
        except (MarketflowError, Refused) as error:
            return problem_of(error, request.request_id)

    def _add(self, method: str, template: str, handler: Handler) -> None:
        node = self._root
        for segment in template.split("/")[1:]:
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        node.route = node.route or Route(template)
        node.route.handlers[method] = handler
        if method == "GET":
            node.route.handlers["HEAD"] = handler

    def _find(self, path: str) -> tuple[Route, list[str]]:
        node, values = self._root, []
        encoded = "%" in path
        for raw in path.split("/")[1:]:
            segment = decode(raw) if encoded else raw
            following = node.literals.get(segment)
            if following is None:
                following = node.parameter
                if following is None or not segment:
                    raise Refused(404, "no such route, GET / lists them")
                values.append(segment)
            node = following
        if node.route is None:
            raise Refused(404, "no such route, GET / lists them")
        found = node.route, values
        if len(self._found) < _REMEMBERED:
            self._found[path] = found
        return found

    def _submit(self, later: Later, request: Request) -> Response | Future[Response]:
        if not self._places.acquire(blocking=False):
            busy = problem(503, "too many questions are waiting", request.request_id)
            return self._deliver(request, busy)
        future = self._pool.submit(self._finish, later.work, request)
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _park(self, parked: Parked, request: Request) -> Future[Response]:
        promise: Future[Response] = Future()

        def keep(future: Future[Any]) -> None:
            try:
                promise.set_result(self._finish(partial(_answer_of, parked, future), request))
            except Exception as error:  # noqa: BLE001  reported by whoever reads the promise
                promise.set_exception(error)

        parked.future.add_done_callback(keep)
        return promise

    def _finish(self, work: Callable[[], Response], request: Request) -> Response:
        try:
            response = work()
        except (MarketflowError, Refused) as error:
            response = problem_of(error, request.request_id)
        return self._deliver(request, response)


def _answer_of(parked: Parked, future: Future[Any]) -> Response:
    return parked.answer(future.result())


def _without_handler(request: Request, route: Route) -> Response:
    if request.method == "OPTIONS":
        return Response(204, headers=(route.allow,))
    detail = f"{request.method} is not allowed here"
    return problem(405, detail, request.request_id, (route.allow,))
