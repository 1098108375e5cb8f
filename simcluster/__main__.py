"""`python -m simcluster`."""

import sys

from simcluster.cli import main

sys.exit(main())
