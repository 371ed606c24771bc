"""HTTP without a feed, beside the standard library's server, uvicorn and nginx."""

from collections import defaultdict
from collections.abc import Iterator

from bench import wrk
from bench.feeding import Feeder
from bench.references import start_nginx, start_stock, start_uvicorn
from bench.report import ratios
from bench.service import Service
from bench.session import Session
from tools.processes import Processes

GROUP = "HTTP, keep-alive GET of a small JSON answer, no feed"
_LATEST = "/prices/latest/BTCUSDT"
_CLOSE = ("Connection: close",)
_LOGGING = "uvicorn with its access log"
_BURSTS_PER_S = 1  # so that there is a price, and the feed is not taken for dead


def run(session: Session) -> None:
    """Measure every server in turn, round by round."""
    found: dict[str, list[wrk.Run]] = defaultdict(list)
    with Processes() as processes:
        addresses = {
            "stock": start_stock(processes),
            "uvicorn": start_uvicorn(processes),
            _LOGGING: start_uvicorn(processes, as_it_comes=True),
            "nginx": start_nginx(processes),
        }
        feeder = Feeder(processes)
        with Service(ports=feeder.ports, pairs=feeder.pairs) as service:
            feeder.wait_for_clients()
            feeder.pace(len(feeder.pairs) * len(feeder.ports) * _BURSTS_PER_S)
            service.wait_for_prices()
            addresses["ours"] = service.url + _LATEST
            for number in session.each_round():
                for name, result in _round(session, addresses):
                    session.tell(f"round {number}, {name}", result.rate, "answers/s")
                    found[name].append(result)
        feeder.close()
    _report(session, found)


def _round(session: Session, addresses: dict[str, str]) -> Iterator[tuple[str, wrk.Run]]:
    ours, seconds = addresses["ours"], session.seconds
    for name, url in addresses.items():
        yield name, wrk.run(url, connections=64, seconds=seconds)
    for connections in (1, 1000):
        yield f"c={connections}", wrk.run(ours, connections=connections, seconds=seconds)
    for name in ("same", "varied"):
        yield name, wrk.run(ours, connections=64, seconds=seconds, questions=name)
    for name in ("stock", "nginx", "ours"):
        url = addresses[name]
        yield f"{name} close", wrk.run(url, connections=64, seconds=seconds, headers=_CLOSE)


def _report(session: Session, found: dict[str, list[wrk.Run]]) -> None:
    rates = {name: [run.rate for run in runs] for name, runs in found.items()}
    add = session.report.add
    for name in ("stock", "uvicorn", _LOGGING, "nginx"):
        add(GROUP, f"{name}, c=64", rates[name], unit="answers/s")
    add(GROUP, "ours, c=64", rates["ours"], unit="answers/s")
    for name, factor in (("stock", 30), ("uvicorn", 2.2), ("nginx", 0.45)):
        add(GROUP, f"ours / {name}, c=64", ratios(rates["ours"], rates[name]), at_least=factor)
    add(GROUP, f"ours / {_LOGGING}, c=64", ratios(rates["ours"], rates[_LOGGING]))
    add(GROUP, "ours, c=64, p50", [run.p50_ms for run in found["ours"]], unit="ms")
    add(GROUP, "ours, c=64, p99", [run.p99_ms for run in found["ours"]], unit="ms", at_most=3)
    add(GROUP, "ours, c=1", rates["c=1"], unit="answers/s")
    add(GROUP, "ours, c=1, p99", [run.p99_ms for run in found["c=1"]], unit="ms")
    p99 = [run.p99_ms for run in found["c=1000"]]
    add(GROUP, "ours, c=1000, p99", p99, unit="ms", at_most=50)
    add(GROUP, "ours, c=1000 / c=64", ratios(rates["c=1000"], rates["ours"]), at_least=0.7)
    close = ratios(rates["ours close"], rates["stock close"])
    add(GROUP, "nginx, Connection: close", rates["nginx close"], unit="answers/s")
    add(GROUP, "ours, Connection: close", rates["ours close"], unit="answers/s")
    add(GROUP, "ours / stock, Connection: close", close, at_least=8)
    # the client's one thread is the bound here: to connect takes it longer than us to answer
    floor = ratios(rates["ours close"], rates["nginx close"])
    add(GROUP, "ours / nginx, Connection: close", floor)
    varied = ratios(rates["varied"], rates["same"])
    add(GROUP, "varied URLs, browser headers / plain", varied, at_least=0.9)
