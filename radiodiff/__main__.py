"""``python -m radiodiff`` is the command line."""

import sys

from radiodiff.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
