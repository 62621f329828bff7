"""`python -m i2i`: the same as the command `i2i`."""

from __future__ import annotations

import sys

from i2i.cli import main

if __name__ == "__main__":
    sys.exit(main())
