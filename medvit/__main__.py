"""`python -m medvit` is the command `medvit`."""

import sys

from medvit.cli import main

sys.exit(main())
