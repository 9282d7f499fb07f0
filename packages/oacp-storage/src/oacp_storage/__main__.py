"""``python -m oacp_storage``: the same as ``oacp-storage``."""

import sys

from oacp_storage.cli import main

sys.exit(main())
