"""`make run`: three fake exchanges and the service, each a process, until Ctrl-C.

With `STORE=postgres` the service stores and mirrors to a throw-away PostgreSQL and Redis.
"""

# ruff: noqa: T201  it talks to a terminal

import argparse
import http.client
import json
import sys
from time import monotonic
from typing import NamedTuple

from tools.binaries import complaint
from tools.processes import Interrupted, Processes, is_taken
from tools.real_servers import RealServers, ServerEnded
from tools.servers import free_port

_FIRST_PORT = 40101  # as in config.json
_HTTP_PORTS = (8081, 8082, 8083)  # likewise
_START_S = 15.0  # until prices come from every exchange; after it, less will do
_POLL_S = 0.1


class _Exchange(NamedTuple):
    """The ports of a fake exchange: where it sends ticks, and where it is asked for quotes."""

    name: str
    port: int
    http_port: int

    @property
    def arguments(self) -> list[str]:
        """The arguments of Python that start it."""
        ports = ["--port", str(self.port), "--http-port", str(self.http_port)]
        return ["-m", "fakeexchange", *ports]


def main() -> int:
    """Run until a signal comes (status 0) or the service ends by itself (1)."""
    options = _options()
    exchanges = _exchanges(options.exchange_port, options.port)
    for exchange in exchanges:
        if is_taken("127.0.0.1", exchange.port):
            port = exchange.port
            return _complain(f"port {port} is taken, a fake exchange needs it: stop what has it")
    try:
        if is_taken(options.host, options.port):
            return _complain(f"port {options.port} is taken, choose another: make run PORT=8090")
    except (OSError, OverflowError) as error:
        return _complain(f"cannot listen on {options.host}:{options.port}: {error}")
    if options.store == "postgres" and (missing := complaint()):
        return _complain(missing)
    try:
        with Processes() as processes:
            return _run(processes, options, exchanges)
    except Interrupted:
        return 0
    except (ServerEnded, FileNotFoundError, RuntimeError) as error:
        return _complain(str(error))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--mode", choices=("live", "test"), default="live")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--exchange-port", type=int, default=_FIRST_PORT, help="first of three")
    return parser.parse_args()


def _exchanges(first_port: int, service_port: int) -> list[_Exchange]:
    """Choose the ports: over HTTP free ones, unless all are the usual ones and can be had."""
    http_ports = _HTTP_PORTS
    if first_port != _FIRST_PORT or any(
        port == service_port or is_taken("127.0.0.1", port) for port in _HTTP_PORTS
    ):
        http_ports = (free_port(), free_port(), free_port())
    return [_Exchange(f"exchange{n}", first_port + n - 1, http_ports[n - 1]) for n in (1, 2, 3)]


def _run(processes: Processes, options: argparse.Namespace, exchanges: list[_Exchange]) -> int:
    servers = RealServers(processes) if options.store == "postgres" else None
    environ = {}
    if servers is not None:
        servers.start()
        environ = servers.environ
    running = {}
    for exchange in exchanges:
        program = processes.start(exchange.name, exchange.arguments)
        running[exchange] = program
        if not processes.wait_until_listening(program, exchange.port):
            return _complain(f"{exchange.name} ended with status {program.process.returncode}")
    environ |= _sources(exchanges)
    where = ["--host", options.host, "--port", str(options.port), "--mode", options.mode]
    service = processes.start("marketflow", ["marketflow.py", *where], environ)
    deadline = monotonic() + _START_S
    while (status := _status(options.host, options.port)) != "ok" and not service.ended:
        if status == "degraded" and monotonic() > deadline:
            break
        processes.wait(_POLL_S)
    if not service.ended:
        ways_in = servers.ways_in(options.mode) if servers else []
        _welcome(options.host, options.port, exchanges, ways_in)
    while not service.ended:
        for exchange in [exchange for exchange, program in running.items() if program.ended]:
            del running[exchange]
            _tell_how_to_restart(exchange)
        if servers is not None:
            servers.tend()
        processes.wait(_POLL_S)
    return _complain(f"marketflow ended with status {service.process.returncode}")


def _sources(exchanges: list[_Exchange]) -> dict[str, str]:
    """Return what tells the service where the exchanges are, if that is not where it expects."""
    environ = {}
    if exchanges[0].port != _FIRST_PORT:
        ticks = [{"name": one.name, "kind": "tcp", "port": one.port} for one in exchanges]
        environ["MARKETFLOW_SOURCES_LIVE"] = json.dumps(ticks)
    if exchanges[0].http_port != _HTTP_PORTS[0]:
        tickers = [{"name": one.name, "url": _ticker(one, "{symbol}")} for one in exchanges]
        environ["MARKETFLOW_SOURCES_HTTP_LIVE"] = json.dumps(tickers)
    return environ


def _ticker(exchange: _Exchange, symbol: str) -> str:
    return f"http://127.0.0.1:{exchange.http_port}/mock/ticker/{symbol}"


def _status(host: str, port: int) -> str | None:
    """Ask the service how it is; None while it does not answer."""
    connection = http.client.HTTPConnection(host, port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read()).get("status"))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _welcome(host: str, port: int, exchanges: list[_Exchange], ways_in: list[str]) -> None:
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    curl = f"curl {url}/prices/latest/BTCUSDT"
    print(f"\nOpen {url}/ or try: {curl} (Ctrl-C stops everything)")
    print("What the exchanges quote over HTTP:")
    for exchange in exchanges:
        print(f"  {exchange.name}: curl {_ticker(exchange, 'btcusdt')}")
    if ways_in:
        print("The first rows come after the end of this minute. To look inside:")
    print("".join(f"{way}\n" for way in ways_in), flush=True)


def _tell_how_to_restart(exchange: _Exchange) -> None:
    command = " ".join(["python3", *exchange.arguments])
    print(f"\n{exchange.name} ended, to start it again: {command}\n", flush=True)


def _complain(sentence: str) -> int:
    print(f"make run: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
