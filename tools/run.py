"""`make run`: three fake exchanges and the service, each a process, until Ctrl-C.

With `STORE=postgres` the service stores and mirrors to a throw-away PostgreSQL and Redis.
"""

# ruff: noqa: T201  it talks to a terminal

import argparse
import http.client
import json
import sys
from time import monotonic

from tools.binaries import complaint
from tools.processes import Interrupted, Processes, Program, is_taken
from tools.real_servers import RealServers, ServerEnded

_FIRST_PORT = 40101  # as in config.json
_START_S = 15.0  # until prices come from every exchange; after it, less will do
_POLL_S = 0.1


def main() -> int:
    """Run until a signal comes (status 0) or the service ends by itself (1)."""
    options = _options()
    exchanges = {f"exchange{n}": options.exchange_port + n - 1 for n in (1, 2, 3)}
    for port in exchanges.values():
        if is_taken("127.0.0.1", port):
            return _complain(f"port {port} is taken, a fake exchange needs it: stop what has it")
    try:
        if is_taken(options.host, options.port):
            return _complain(f"port {options.port} is taken, choose another: make run PORT=8081")
    except (OSError, OverflowError) as error:
        return _complain(f"cannot listen on {options.host}:{options.port}: {error}")
    if options.store == "postgres" and (missing := complaint()):
        return _complain(missing)
    try:
        with Processes() as processes:
            return _run(processes, options, exchanges)
    except Interrupted:
        return 0
    except (ServerEnded, RuntimeError) as error:
        return _complain(str(error))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--mode", choices=("live", "test"), default="live")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--exchange-port", type=int, default=_FIRST_PORT, help="first of three")
    return parser.parse_args()


def _run(processes: Processes, options: argparse.Namespace, ports: dict[str, int]) -> int:
    servers = RealServers(processes) if options.store == "postgres" else None
    environ = {}
    if servers is not None:
        servers.start()
        environ = servers.environ
    exchanges = []
    for name, port in ports.items():
        exchange = processes.start(name, ["-m", "fakeexchange", "--port", str(port)])
        exchanges.append(exchange)
        if not processes.wait_until_listening(exchange, port):
            return _complain(f"{name} ended with status {exchange.process.returncode}")
    if options.exchange_port != _FIRST_PORT:
        environ["MARKETFLOW_SOURCES_LIVE"] = _sources(ports)
    where = ["--host", options.host, "--port", str(options.port), "--mode", options.mode]
    service = processes.start("marketflow", ["marketflow.py", *where], environ)
    deadline = monotonic() + _START_S
    while (status := _status(options.host, options.port)) != "ok" and not service.ended:
        if status == "degraded" and monotonic() > deadline:
            break
        processes.wait(_POLL_S)
    if not service.ended:
        _welcome(options.host, options.port, servers.ways_in(options.mode) if servers else [])
    while not service.ended:
        for exchange in [exchange for exchange in exchanges if exchange.ended]:
            exchanges.remove(exchange)
            _tell_how_to_restart(exchange, ports[exchange.name])
        if servers is not None:
            servers.tend()
        processes.wait(_POLL_S)
    return _complain(f"marketflow ended with status {service.process.returncode}")


def _sources(ports: dict[str, int]) -> str:
    return json.dumps([{"name": name, "kind": "tcp", "port": port} for name, port in ports.items()])


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


def _welcome(host: str, port: int, ways_in: list[str]) -> None:
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    curl = f"curl {url}/prices/latest/BTCUSDT"
    print(f"\nOpen {url}/ or try: {curl} (Ctrl-C stops everything)")
    if ways_in:
        print("The first rows come after the end of this minute. To look inside:")
    print("".join(f"{way}\n" for way in ways_in), flush=True)


def _tell_how_to_restart(exchange: Program, port: int) -> None:
    command = f"python3 -m fakeexchange --port {port}"
    print(f"\n{exchange.name} ended, to start it again: {command}\n", flush=True)


def _complain(sentence: str) -> int:
    print(f"make run: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
