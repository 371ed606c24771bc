"""A real-time market-data service.

The map of the package:

- `domain`: what a tick, a window, a minute and a period are. Pure.
- `application`: the use cases and the pipeline; knows ports, not technologies.
- `adapters`: the web, the exchanges, the disk.
- `config`, `logfmt`, `cli`, `app`: settings, log lines, the command line, the composition root.
"""

__version__ = "0.1.0"
