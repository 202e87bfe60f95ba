"""`python CLONE COMMAND ...` is the command `medvit COMMAND ...` without installing the package."""

import sys

from medvit.cli import main

sys.exit(main())
