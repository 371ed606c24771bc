"""The metrics as Prometheus takes them: its linter, its server, and the law of conservation."""

import json
import subprocess
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.end_to_end.harness import Service, config_of, until
from tests.ports import free_port
from tools.binaries import find_binary

pytestmark = pytest.mark.slow

EXCHANGES = ("exchange1", "exchange2", "exchange3")
SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus.yml"
SCRAPES = 12


@pytest.fixture
def feeders(feed):
    return [feed(name, seed=n, pulse_s=0.02) for n, name in enumerate(EXCHANGES)]


@pytest.fixture
def service(serve, feeders) -> Service:
    config = config_of([(feeder.name, feeder.port) for feeder in feeders])
    service = serve(config).start()
    for feeder in feeders:
        feeder.wait_for_connection()
    return service


@pytest.fixture
def prometheus(service, tmp_path, cleanup):
    """Start a Prometheus with the shipped configuration, only quicker; ask it by expression."""
    text = SHIPPED.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{service.port}")
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("scrape_interval: 5s", "scrape_interval: 1s"))
    port = free_port()
    process = subprocess.Popen(
        [
            find_binary("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'series'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cleanup.callback(process.wait)
    cleanup.callback(process.kill)

    def ask(expression: str) -> list[tuple[dict[str, str], float]]:
        try:
            with urlopen(
                f"http://127.0.0.1:{port}/api/v1/query?query={quote(expression)}"
            ) as answer:
                found = json.load(answer)["data"]["result"]
        except OSError:
            return []  # it has only just started
        return [(item["metric"], float(item["value"][1])) for item in found]

    return ask


def test_prometheus_has_nothing_to_say_about_the_metrics(service):
    service.wait_for_ticks(100)
    service.ask("/prices/latest/BTCUSDT")
    said = subprocess.run(
        [find_binary("promtool"), "check", "metrics"],
        input=service.ask("/metrics").body,
        capture_output=True,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def test_a_prometheus_sees_the_service_up_and_its_counters_rise(service, prometheus):
    job = '{job="marketflow"}'
    until(
        lambda: prometheus(f"count_over_time(up{job}[1m]) >= {SCRAPES}"), 40, f"{SCRAPES} scrapes"
    )
    assert [value for _, value in prometheus(f"min_over_time(up{job}[1m])")] == [1.0]
    for counter in ("ticks_received_total", "ticks_aggregated_total"):
        rising = prometheus(f"increase(marketflow_{counter}{job}[1m])")
        assert {labels["source"] for labels, _ in rising} == set(EXCHANGES)
        assert all(value > SCRAPES * 50 for _, value in rising), rising
    assert prometheus("increase(process_cpu_seconds_total[1m])")[0][1] > 0
    ((labels, quantile),) = prometheus(
        "histogram_quantile(0.99, sum by (le) (rate(marketflow_feed_latency_seconds_bucket[1m])))"
    )
    assert (labels, 0 < quantile < 5) == ({}, True)


def test_every_line_received_is_accounted_for(service, feeders):
    feeders[0].send_raw(b"garbage\n" * 7)
    for feeder in feeders:
        feeder.stop()
    until(lambda: service.total("ticks_rejected_total") == 7, 5, "rejected lines")
    until(lambda: service.total("ticks_in_flight") == 0, 5, "an empty pipeline")
    for feeder in feeders:
        of_source = {"source": feeder.name}
        received, aggregated, rejected, late = (
            service.total(f"ticks_{what}_total", **of_source)
            for what in ("received", "aggregated", "rejected", "late")
        )
        assert received == len(feeder.ledger) + (7 if feeder is feeders[0] else 0)
        assert received == aggregated + rejected + late
