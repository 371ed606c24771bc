"""Fake exchanges: they speak like the original exchange programs, from generated prices.

The map of the package:

- `prices`: walks, bursts of lines and their pace. Pure; marketflow's test mode runs on it too.
- `replay`, `faults`: recorded lines instead of generated ones, and what can go wrong on the way.
- `tcp_server`, `client`: the sockets, all served by one thread.
- `options`, `logfmt`, `__main__`: the command line, log lines, `python -m fakeexchange`.
"""
