"""Start the service: `python -m marketflow`."""

import sys

from marketflow.cli import main

sys.exit(main())
