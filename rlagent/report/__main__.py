"""`python -m rlagent.report`."""

import sys

from rlagent.report import main

sys.exit(main())
