"""`python -m unshuffle`."""

import sys

from unshuffle.commands import main

sys.exit(main())
