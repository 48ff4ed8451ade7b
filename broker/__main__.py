"""``python -m noctule``: the same as the command ``noctule``."""

import sys

from noctule.cli.main import main

sys.exit(main())
