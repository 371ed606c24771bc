"""Start the service: `python marketflow.py --help`."""

import sys

from marketflow.cli import main

sys.exit(main())
