"""Open pages in the browser: watch runs and sweeps, and try finished models on photos."""

import sys

from workbench import cli
from workbench.commands import APP

if __name__ == "__main__":
    sys.exit(cli.main(APP))
