"""`python -m app.cli`: the same as `twofold`."""

import sys

from app.cli.main import main

sys.exit(main())
