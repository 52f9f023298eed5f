"""``python -m hangtag.cli``."""

import sys

from .main import main

sys.exit(main())
