"""`python -m conduit_lab`, the same as `conduit-lab`."""

from __future__ import annotations

import sys

from conduit_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
