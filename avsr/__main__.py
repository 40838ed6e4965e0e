"""python -m avsr"""

import sys

from avsr.cli import main

if __name__ == "__main__":
    sys.exit(main())
