"""Start the service: `python marketflow.py --help`."""

import sys

from marketflow.process import block_signals

block_signals()  # before the long imports: a signal meanwhile ends it in order

from marketflow.cli import main  # noqa: E402  as above

sys.exit(main())
