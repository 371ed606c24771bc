"""What can be configured: one frozen section each, with the values that are allowed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from marketflow.domain.mode import Mode
from marketflow.sections import Variant
from marketflow.settings import (
    Choice,
    ConfigError,
    Duration,
    ListOf,
    Number,
    Switch,
    Text,
    Whole,
    duration_text,
)

# words of the routes below /prices
RESERVED_WORDS = ("latest", "highest", "lowest", "average", "stats")

_RESERVED = "|".join(RESERVED_WORDS)
_BUT_THESE = f"other than {', '.join(RESERVED_WORDS)}"

SYMBOL = Text(
    rf"(?!(?:{_RESERVED})\Z)[a-z0-9]{{1,32}}",
    f"1 to 32 letters and digits, {_BUT_THESE}",
    into=str.upper,
)
NAME = Text(
    rf"(?!(?:{_RESERVED}|\.|\.\.)\Z)[a-z0-9_.-]{{1,64}}",
    f"1 to 64 letters, digits, '_', '.', '-', {_BUT_THESE}, '.', '..'",
)
HOST = Text(r"[a-z0-9._:%-]{1,253}", "a host name or an IP address")
_HOST_HEADER = Text(r"[a-z0-9._:\[\]-]{1,253}", "a host name or an IP address")
_ORIGIN = Text(
    r"https?://[a-z0-9._:\[\]-]{1,253}|null",
    "an origin such as https://example.org",
    into=str.lower,
)
_PORT = Whole(1, 65535)
# half of a surrogate pair names no file; those of undecodable bytes do
PATH = Text(r"[^\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]{1,4096}", "the path of a file", into=Path)
_TOKEN = Text(r"[!-~]{0,1024}", "at most 1024 ASCII characters without spaces", secret=True)
_LOGIN = Text(r"[^\x00-\x1f\x7f]{1,128}", "1 to 128 characters")
_USERNAME = Text(r"[^\x00-\x1f\x7f]{0,128}", "at most 128 characters")
_PASSWORD = Text(r"[^\x00]{0,4096}", "at most 4096 characters", secret=True)
_BYTES = Whole(65_536, 1 << 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSettings:
    """An exchange that sends its ticks to whoever connects."""

    name: Annotated[str, NAME]
    kind: Annotated[str, Choice("tcp")] = "tcp"
    host: Annotated[str, HOST] = "127.0.0.1"
    port: Annotated[int, _PORT]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedSettings:
    """Prices made up in this process, *rate* lines a second, the same for the same seed."""

    name: Annotated[str, NAME]
    kind: Annotated[str, Choice("generated")] = "generated"
    seed: Annotated[int, Whole(0, (1 << 63) - 1)] = 1
    rate: Annotated[float, Number(0.1, 1_000_000)] = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """Recorded lines, sent again *speed* times as fast as they were."""

    name: Annotated[str, NAME]
    kind: Annotated[str, Choice("replay")] = "replay"
    file: Annotated[Path, PATH]
    speed: Annotated[float, Number(0.001, 1_000)] = 1.0


SourceSettings = TcpSettings | GeneratedSettings | ReplaySettings

_SOURCES = ListOf(
    Variant({"tcp": TcpSettings, "generated": GeneratedSettings, "replay": ReplaySettings}),
    "a list of sources",
    key="name",
    may_be_empty=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesSettings:
    """Where the ticks of each mode come from."""

    live: Annotated[tuple[SourceSettings, ...], _SOURCES] = tuple(
        TcpSettings(name=f"exchange{n}", port=40100 + n) for n in (1, 2, 3)
    )
    test: Annotated[tuple[SourceSettings, ...], _SOURCES] = tuple(
        GeneratedSettings(name=f"exchange{n}", seed=n) for n in (1, 2, 3)
    )

    def of(self, mode: Mode) -> tuple[SourceSettings, ...]:
        """Return the sources of *mode*."""
        return self.live if mode is Mode.LIVE else self.test


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """What is expected of a source, and how patiently."""

    stale_after_ms: Annotated[int, Duration("100ms", "1h")] = 5_000
    connect_timeout_ms: Annotated[int, Duration("10ms", "5m")] = 3_000
    backoff_max_ms: Annotated[int, Duration("10ms", "1h")] = 5_000
    max_line: Annotated[int, Whole(256, 1_048_576)] = 65_536  # bytes
    max_clock_skew_ms: Annotated[int, Duration("0s", "1d")] = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """How wide the pipeline is."""

    workers_per_source: Annotated[int, Whole(1, 64)] = 5
    queue_chunks: Annotated[int, Whole(1, 65_536)] = 256
    coalesce_ms: Annotated[int, Duration("0s", "1s")] = 2
    one_cpu: Annotated[bool, Switch()] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationSettings:
    """When a minute's row is written."""

    interval_ms: Annotated[int, Duration("100ms", "1m", divides_ms=60_000)] = 60_000
    grace_ms: Annotated[int, Duration("0s", "1m")] = 2_000
    late_intervals: Annotated[int, Whole(0, 1_440)] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """How long single ticks are remembered."""

    span_ms: Annotated[int, Duration("1s", "1h")] = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """The chunks on disk that a restart is rebuilt from."""

    enabled: Annotated[bool, Switch()] = True
    max_bytes: Annotated[int, _BYTES] = 1_073_741_824


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """The rows on disk that the store has not taken yet."""

    max_age_ms: Annotated[int, Duration("1m", "3650d")] = 604_800_000
    max_bytes: Annotated[int, _BYTES] = 268_435_456


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where rows are kept for good."""

    backend: Annotated[str, Choice("sqlite", "postgres")] = "sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """The server that keeps the rows when storage.backend is postgres."""

    host: Annotated[str, HOST] = "127.0.0.1"
    port: Annotated[int, _PORT] = 5432
    user: Annotated[str, _LOGIN] = "marketflow"
    password: Annotated[str, _PASSWORD] = field(default="", repr=False)
    database: Annotated[str, _LOGIN] = "marketflow"
    sslmode: Annotated[
        str, Choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
    ] = "prefer"
    connect_timeout_ms: Annotated[int, Duration("10ms", "5m")] = 3_000
    statement_timeout_ms: Annotated[int, Duration("10ms", "5m")] = 3_000
    pool_size: Annotated[int, Whole(1, 64)] = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """The mirror of every tick in Redis, for other programs."""

    backend: Annotated[str, Choice("memory", "redis")] = "memory"
    retention_ms: Annotated[int, Duration("1m", "7d")] = 300_000
    flush_interval_ms: Annotated[int, Duration("10ms", "100ms")] = 100
    max_bytes: Annotated[int, _BYTES] = 67_108_864


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """The server that is mirrored to when cache.backend is redis."""

    host: Annotated[str, HOST] = "127.0.0.1"
    port: Annotated[int, _PORT] = 6379
    username: Annotated[str, _USERNAME] = ""
    password: Annotated[str, _PASSWORD] = field(default="", repr=False)
    db: Annotated[int, Whole(0, 1_023)] = 0
    tls: Annotated[bool, Switch()] = False
    timeout_ms: Annotated[int, Duration("10ms", "1m")] = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP server."""

    host: Annotated[str, HOST] = "127.0.0.1"
    port: Annotated[int, _PORT] = 8080
    admin_token: Annotated[str, _TOKEN] = field(default="", repr=False)
    default_period_ms: Annotated[int, Duration("1ms", "3650d")] = 60_000
    max_period_ms: Annotated[int, Duration("1ms", "3650d")] = 2_592_000_000
    max_connections: Annotated[int, Whole(1, 1_000_000)] = 4_096
    workers: Annotated[int, Whole(1, 256)] = 8
    request_timeout_ms: Annotated[int, Duration("10ms", "1h")] = 10_000
    idle_timeout_ms: Annotated[int, Duration("10ms", "1d")] = 30_000
    allowed_hosts: Annotated[
        tuple[str, ...], ListOf(_HOST_HEADER, "a list of host names", may_be_empty=True)
    ] = ()
    reuse_port: Annotated[bool, Switch()] = False
    stream_interval_ms: Annotated[int, Duration("10ms", "1m")] = 250
    cors_origins: Annotated[
        tuple[str, ...], ListOf(_ORIGIN, "a list of origins", may_be_empty=True)
    ] = ()

    def __post_init__(self) -> None:
        if self.default_period_ms > self.max_period_ms:
            raise ConfigError(
                f"http.default_period must be at most http.max_period"
                f" ({duration_text(self.max_period_ms)}),"
                f" was '{duration_text(self.default_period_ms)}'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The log lines on standard error."""

    level: Annotated[str, Choice("debug", "info", "warning", "error")] = "info"
    format: Annotated[str, Choice("text", "json")] = "text"
