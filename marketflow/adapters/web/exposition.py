"""Metrics as text: the Prometheus exposition format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterable, Iterator, Mapping

from marketflow.application.telemetry import LATENCY_BUCKETS_S, Histogram

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


def head(name: str, kind: str, text: str) -> Iterator[str]:
    """Yield what precedes the samples of a metric."""
    yield f"# HELP marketflow_{name} {text}"
    yield f"# TYPE marketflow_{name} {kind}"


def counter(name: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    """Yield a metric that only grows; `_total` is added to its name."""
    yield from head(f"{name}_total", "counter", text)
    for labels, value in samples:
        yield line(f"{name}_total", labels, value)


def gauge(name: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    """Yield a metric that goes up and down."""
    yield from head(name, "gauge", text)
    for labels, value in samples:
        yield line(name, labels, value)


def histogram(name: str, histogram: Histogram, labels: Labels) -> Iterator[str]:
    """Yield the samples of one histogram."""
    below = 0
    for bound, count in zip((*LATENCY_BUCKETS_S, "+Inf"), list(histogram.counts), strict=True):
        below += count
        yield line(f"{name}_bucket", {**labels, "le": str(bound)}, below)
    yield line(f"{name}_sum", labels, round(histogram.total_s, 6))
    yield line(f"{name}_count", labels, below)


def line(name: str, labels: Labels, value: float) -> str:
    """Return one sample."""
    # every label value is a configured name, a template or a constant: none needs escaping
    text = ",".join(f'{key}="{label}"' for key, label in labels.items())
    number = int(value) if value == int(value) else value
    return f"marketflow_{name}{{{text}}} {number}" if text else f"marketflow_{name} {number}"
