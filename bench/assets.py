"""Aggregated asset prices: questions, refreshes, and 10,000 assets fetched from nothing."""

import http.client
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from bench import wrk
from bench.command import Command, started
from bench.feeding import EXCHANGES
from bench.references import start_nginx, start_stock, start_uvicorn
from bench.report import ratios
from bench.service import Service
from bench.session import Session
from bench.tickers import new_connections_rate
from tools.processes import ROOT, Processes
from tools.servers import free_port

GROUP = "Aggregated asset prices, three HTTP exchanges"
_PRICE = "/prices/btcusdt"
_COLD_S = 90.0
_FETCHES = 3_000
_FORCERS = 64
_OFTEN = 200  # assets of the hot and the medium tier


def run(session: Session) -> None:
    """Measure, or say that there are no asset prices."""
    with Processes() as processes:
        ports = [free_port() for _ in EXCHANGES]
        log = processes.new_directory() / "log"
        arguments = [sys.executable, "-m", "bench.tickers", *map(str, ports)]
        started(processes, "tickers", Command(arguments, log=log, port=ports[-1]))
        with Service(
            ports=[free_port() for _ in EXCHANGES], pairs=["BTCUSDT"], environ=_environ(ports)
        ) as service:
            began = monotonic()
            status, _ = service.ask("/assets?limit=1")
            if status in {404, 501}:
                session.report.skip(GROUP, "everything", f"/assets answers {status}")
                return
            _cold(session, service, began)
            _steady(session, processes, service)
            _fetching(session, service, ports)
            _questions(session, processes, service)


def _environ(ports: Sequence[int]) -> dict[str, str]:
    sources = [
        {"name": name, "url": f"http://127.0.0.1:{port}/mock/ticker/{{symbol}}"}
        for name, port in zip(EXCHANGES, ports, strict=True)
    ]
    return {
        "MARKETFLOW_ASSETS_ENABLED": "true",
        "MARKETFLOW_ASSETS_SYMBOLS_FILE": str(ROOT / "symbols.csv"),
        "MARKETFLOW_SOURCES_HTTP_LIVE": json.dumps(sources),
    }


def _assets() -> list[str]:
    lines = (ROOT / "symbols.csv").read_text(encoding="utf-8").split()
    return [name for line in lines if (name := line.split(",")[0]).isalnum() and name != "symbol"]


def _cold(session: Session, service: Service, began: float) -> None:
    """Wait until the schedule has fetched every asset once."""
    assets = _assets()
    deadline = began + _COLD_S
    while service.counts().get("asset_refreshes", 0) < len(assets) and monotonic() < deadline:
        service.wait(0.2)
    took_s = monotonic() - began
    hits = sum(service.ask(f"/prices/{asset}")[0] == 200 for asset in assets)
    session.tell(f"{len(assets)} assets by schedule", took_s, "s")
    add = session.report.add
    add(GROUP, f"{len(assets)} assets by schedule", [took_s], unit="s", at_most=60)
    add(GROUP, "hits, every asset asked once", [100 * hits / len(assets)], unit="%", at_least=99)
    add(GROUP, "resident memory", [service.rss_mb()], unit="MB", at_most=200)


def _steady(session: Session, processes: Processes, service: Service) -> None:
    cpu, late = [], []
    for number in session.each_round():
        used_s, began = service.cpu_s(), monotonic()
        processes.wait(4 * session.seconds)
        cpu.append(100 * (service.cpu_s() - used_s) / (monotonic() - began))
        answers = [json.loads(service.ask(f"/prices/{name}")[1]) for name in _assets()[:_OFTEN]]
        late.append(sum(bool(answer.get("stale", True)) for answer in answers))
        session.tell(f"round {number}, every tier kept", cpu[-1], "% of a core")
    add = session.report.add
    add(GROUP, "CPU, every tier kept", cpu, unit="% of a core", at_most=25)
    add(GROUP, f"later than 1.5 intervals, of the first {_OFTEN}", late, at_most=0)


def _fetching(session: Session, service: Service, ports: Sequence[int]) -> None:
    """Force a refresh of every asset, beside a connection for each question."""
    theirs, ours, took = [], [], []
    assets = _assets()
    for number in session.each_round():
        theirs.append(new_connections_rate(ports, _FETCHES))
        began = monotonic()
        with ThreadPoolExecutor(_FORCERS) as pool:
            shares = [assets[i::_FORCERS] for i in range(_FORCERS)]
            list(pool.map(lambda share: _refresh_all(service.port, share), shares))
        took.append(monotonic() - began)
        ours.append(len(assets) * len(ports) / took[-1])
        session.tell(f"round {number}, every asset forced", took[-1], "s")
    add = session.report.add
    add(GROUP, f"{len(assets)} assets forced", took, unit="s", at_most=15)
    add(GROUP, "a connection for each question", theirs, unit="answers/s")
    add(GROUP, "ours / a connection for each question", ratios(ours, theirs), at_least=3)


def _refresh_all(port: int, assets: Sequence[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for asset in assets:
        connection.request("POST", f"/refresh/{asset}")
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"POST /refresh/{asset} must be 200, was {response.status}")
        response.read()
    connection.close()


def _questions(session: Session, processes: Processes, service: Service) -> None:
    found: dict[str, list[wrk.Run]] = defaultdict(list)
    addresses = {
        "stock": start_stock(processes),
        "uvicorn": start_uvicorn(processes),
        "nginx": start_nginx(processes),
        "ours": service.url + _PRICE,
    }
    for number in session.each_round():
        for name, url in addresses.items():
            found[name].append(wrk.run(url, connections=64, seconds=session.seconds))
        found["c=1000"].append(
            wrk.run(addresses["ours"], connections=1000, seconds=session.seconds)
        )
        refreshed = wrk.run(
            service.url, connections=64, seconds=session.seconds, questions="refresh"
        )
        found["refresh"].append(refreshed)
        session.tell(f"round {number}, GET {_PRICE}", found["ours"][-1].rate, "answers/s")
        session.tell(f"round {number}, POST /refresh", refreshed.rate, "answers/s")
    rates = {name: [run.rate for run in runs] for name, runs in found.items()}
    add = session.report.add
    add(GROUP, f"GET {_PRICE}, c=64", rates["ours"], unit="answers/s")
    for name, factor in (("stock", 30), ("uvicorn", 2.2), ("nginx", 0.45)):
        add(GROUP, f"ours / {name}, c=64", ratios(rates["ours"], rates[name]), at_least=factor)
    for name, most in (("ours", 3), ("c=1000", 100)):
        p99 = [run.p99_ms for run in found[name]]
        add(GROUP, f"p99, {'c=64' if name == 'ours' else name}", p99, unit="ms", at_most=most)
    add(GROUP, "POST /refresh, c=64", rates["refresh"], unit="answers/s", at_least=800)
