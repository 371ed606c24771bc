"""Fake exchanges: they speak like the original exchange programs, from generated prices.

The map of the package:

- `prices`: walks, bursts of lines and their pace. Pure; marketflow's test mode runs on it too.
- `quotes`: what an exchange quotes for an asset at a time. Pure, and used there likewise.
- `replay`, `faults`: recorded lines instead of generated ones, and what can go wrong on the way.
- `tcp_server`, `client`: an exchange that sends lines unasked, and who listens to it.
- `http_server`, `http_client`, `http_messages`: an exchange that is asked over HTTP.
- `tickers`, `answer_faults`, `symbols`: what it answers, what is wrong with it, what it lists.
- `server`, `listener`: the one thread that serves them all, and their ports.
- `options`, `logfmt`, `__main__`: the command line, log lines, `python -m fakeexchange`.
"""
