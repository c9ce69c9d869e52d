"""Prepare the data set nature_12k, and look through any data set before training on it."""

import sys
from collections.abc import Sequence

from workbench import cli
from workbench.commands import DATA


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return cli.choose(DATA, prog="python -m workbench.data", argv=argv)


if __name__ == "__main__":
    sys.exit(main())
