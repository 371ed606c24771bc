"""`python -m fakeexchange`: starts the exchanges and serves them until told to stop."""

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from random import Random

from fakeexchange import symbols
from fakeexchange.answer_faults import AnswerFaults
from fakeexchange.faults import Faults
from fakeexchange.http_server import HttpExchange
from fakeexchange.listener import ListenError
from fakeexchange.logfmt import KeyValueFormatter
from fakeexchange.options import HTTP_PORTS, PORTS, Options, parse
from fakeexchange.prices import PAIRS, Playback, bursts
from fakeexchange.server import Exchange, Server
from fakeexchange.tcp_server import TcpExchange
from fakeexchange.tickers import Tickers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        server = Server(list(exchanges(options)))
    except OSError as error:
        return complain(f"cannot read {symbols.PATH}: {error.strerror}")
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: server.stop())
    try:
        server.open()
    except ListenError as error:
        return complain(str(error))
    server.run()
    return 0


def complain(sentence: str) -> int:
    """Say why it ends, and return the exit status for that."""
    print(f"fakeexchange: {sentence}", file=sys.stderr)
    return 1


def exchanges(options: Options) -> Iterator[Exchange]:
    """Build what was asked for.

    Raises:
        OSError: the list of symbols is needed, and cannot be read.
    """
    for number, port in exchange_numbers(options.ports, PORTS):
        yield build(options, port, number)
    if options.http_ports:
        listed = symbols.listed() if options.symbols is None else options.symbols
        known = frozenset(map(str.lower, listed))
        for number, port in exchange_numbers(options.http_ports, HTTP_PORTS):
            yield build_http(options, port, number, known)


def exchange_numbers(ports: Sequence[int], originals: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield each port and which exchange it is: *originals* keep theirs, others take the free."""
    known = {port: number for number, port in enumerate(originals, start=1)}
    taken = {known[port] for port in ports if port in known}
    most = len(ports) + len(originals)
    free = iter([number for number in range(1, most + 1) if number not in taken])
    for port in ports:
        yield known[port] if port in known else next(free), port


def build(options: Options, port: int, number: int) -> TcpExchange:
    """Build the exchange *number*, 1 for the first, that will listen on *port*."""
    if options.recording is not None:
        source = options.recording.bursts(options.speed)
    else:
        pairs = options.symbols or PAIRS
        source = bursts(number, symbols=pairs, rate=options.rate, seed=options.seed)
    return TcpExchange(
        f"exchange{number}",
        Playback(source),
        host=options.host,
        port=port,
        faults=Faults(options.faults, _random(options, number)) if options.faults else None,
    )


def build_http(options: Options, port: int, number: int, known: frozenset[str]) -> HttpExchange:
    """Build the exchange *number* that will be asked over HTTP on *port* for the *known*."""
    faults = AnswerFaults(options.faults, _random(options, number)) if options.faults else None
    # without a seed all processes agree: an asset's walk depends on the time alone
    tickers = Tickers(number, known, seed=options.seed or 0, faults=faults)
    return HttpExchange(f"exchange{number}", tickers, host=options.host, port=port)


def _random(options: Options, number: int) -> Random:
    return Random(None if options.seed is None else f"{options.seed}/{number}/faults")


if __name__ == "__main__":
    sys.exit(main())
