"""From a mode's settings to its sources."""

from collections.abc import Callable

from marketflow.adapters.exchange.generated import GeneratedSource
from marketflow.adapters.exchange.replay import ReplaySource
from marketflow.adapters.exchange.tcp import TcpSource
from marketflow.application.ports import Clock, TickSource
from marketflow.config import Config
from marketflow.domain.mode import Mode
from marketflow.domain.tick import Decoded
from marketflow.options import GeneratedSettings, ReplaySettings, SourceSettings, TcpSettings

Decode = Callable[[bytes, int], Decoded]


def sources_of(mode: Mode, config: Config, *, decode: Decode, clock: Clock) -> list[TickSource]:
    """Return new sources, one for each that is configured for *mode*."""
    return [_source_of(settings, config, decode, clock) for settings in config.sources.of(mode)]


def _source_of(
    settings: SourceSettings, config: Config, decode: Decode, clock: Clock
) -> TickSource:
    match settings:
        case TcpSettings():
            return TcpSource(
                settings.name,
                settings.host,
                settings.port,
                decode=decode,
                connect_timeout_s=config.feed.connect_timeout_ms / 1000,
                stale_after_s=config.feed.stale_after_ms / 1000,
                coalesce_s=config.pipeline.coalesce_ms / 1000,
                max_line=config.feed.max_line,
            )
        case GeneratedSettings():
            return GeneratedSource(
                settings.name,
                config.symbols,
                decode=decode,
                clock=clock,
                seed=settings.seed,
                rate=settings.rate,
            )
        case ReplaySettings():
            return ReplaySource(
                settings.name, settings.file, speed=settings.speed, clock=clock, decode=decode
            )
