"""`python -m fakeexchange`: starts the exchanges and serves them until told to stop."""

import logging
import signal
import sys
from collections.abc import Sequence
from random import Random

from fakeexchange.exchange import Exchange, ListenError
from fakeexchange.faults import Faults
from fakeexchange.logfmt import KeyValueFormatter
from fakeexchange.options import PORTS, Options, parse
from fakeexchange.prices import Playback, bursts
from fakeexchange.tcp_server import Server


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    numbers = exchange_numbers(options.ports)
    server = Server(
        [build(options, port, number) for port, number in zip(options.ports, numbers, strict=True)]
    )
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: server.stop())
    try:
        server.open()
    except ListenError as error:
        print(f"fakeexchange: {error}", file=sys.stderr)
        return 1
    server.run()
    return 0


def exchange_numbers(ports: Sequence[int]) -> list[int]:
    """Say which exchange each port is: the original ports keep theirs, others take what is free."""
    known = {port: number for number, port in enumerate(PORTS, start=1)}
    taken = {known[port] for port in ports if port in known}
    free = iter([number for number in range(1, len(ports) + len(PORTS) + 1) if number not in taken])
    return [known[port] if port in known else next(free) for port in ports]


def build(options: Options, port: int, number: int) -> Exchange:
    """Build the exchange *number*, 1 for the first, that will listen on *port*."""
    if options.recording is not None:
        source = options.recording.bursts(options.speed)
    else:
        source = bursts(number, symbols=options.symbols, rate=options.rate, seed=options.seed)
    random = Random(None if options.seed is None else f"{options.seed}/{number}/faults")
    return Exchange(
        f"exchange{number}",
        Playback(source),
        host=options.host,
        port=port,
        faults=Faults(options.faults, random) if options.faults else None,
    )


if __name__ == "__main__":
    sys.exit(main())
