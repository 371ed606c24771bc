"""One history written by hand, in which every kind of durable step is taken."""


def _hear(source, *ticks, gap_ms=15):
    return ("hear", source, list(ticks), gap_ms)


_CLOSE = [("absorb", 100, 1), ("pause", 2_500), ("close",)]

SCENARIO = [
    # two sources in one minute, their batches out of order; a late tick
    _hear(0, (0, 1.5, 0), (1, 0.3, 30)),
    _hear(1, (0, 1.25, 0)),
    _hear(0, (0, 1.75, -400)),
    _hear(1, (0, 0.1, 0), (0, 0.3, 1_999)),
    ("sync",),
    *_CLOSE,
    ("flush", 9),
    _hear(0, (0, 1.125, 4_000), (0, 1.0, 0)),
    # a mode switch in the middle of a minute, with a chunk stuck, and back
    _hear(1, (1, 1.3, 0)),
    ("switch", 1),
    _hear(0, (0, 2.5, 0)),
    ("switch", None),
    _hear(0, (0, 1.875, 0)),
    # the store is away, then its answer is lost; a better version comes meanwhile
    ("fault", "store", "down"),
    *_CLOSE,
    ("flush", 9),
    _hear(0, (0, 1.0625, 5_000)),
    ("fault", "store", "lost"),
    *_CLOSE,
    ("flush", 9),
    ("fault", "store", None),
    ("pause", 2_500),
    ("flush", 9),
    # rows are refused; another version of one comes
    ("fault", "refused", "exchange1"),
    _hear(0, (0, 1.7, 0), (1, 1.8, 0)),
    *_CLOSE,
    ("flush", 9),
    _hear(0, (0, 1.6, 5_000)),
    *_CLOSE,
    ("flush", 9),
    ("fault", "refused", None),
    # the outbox is down for longer than the journal is kept, the store as well
    ("fault", "outbox", "down"),
    ("fault", "store", "down"),
    _hear(1, (0, 1.9, 0), gap_ms=70_000),
    *_CLOSE,
    ("flush", 9),
    _hear(1, (0, 1.95, 0), gap_ms=70_000),
    *_CLOSE,
    ("flush", 9),
    ("fault", "store", None),
    _hear(1, (0, 1.96, 5_000)),
    *_CLOSE,
    ("flush", 9),
    ("fault", "outbox", "lost"),
    ("pause", 2_500),
    ("flush", 9),
    ("fault", "outbox", None),
    ("stop", 300),
    # a start that is told to stop while restoring, then one that hears meanwhile
    ("while_restoring", {1: [_hear(0, (0, 1.55, 2_000)), ("stop",)]}),
    _hear(0, (0, 1.65, 0)),
    ("kill", 300),
    ("while_restoring", {1: [_hear(1, (0, 1.45, 0))], 3: [("flush", 0)]}),
    _hear(0, (0, 1.35, 0)),
    # the disk is full, takes half, cannot cut that off, and is well again
    ("fault", "disk", "full"),
    _hear(0, (1, 1.01, 0)),
    ("fault", "disk", "short"),
    _hear(0, (1, 1.02, 0), gap_ms=1_500),
    ("fault", "disk", "torn"),
    _hear(1, (1, 1.03, 0), gap_ms=1_500),
    ("fault", "disk", None),
    _hear(1, (1, 1.04, 0), gap_ms=1_500),
    _hear(0, (1, 1.05, 0)),
    ("sync",),
    *_CLOSE,
    ("flush", 9),
    ("calm",),
]
