"""Prepare the data set nature_12k, and look through any data set before training on it."""

import sys
from collections.abc import Sequence

from workbench import cli
from workbench.data.config import InspectConfig, Nature12kConfig

COMMANDS = {
    "nature_12k": cli.Command(
        Nature12kConfig,
        "workbench.data.nature_12k:prepare",
        "Download and prepare the 10-class iNaturalist subset for --data nature_12k.",
        use_gpu=False,
    ),
    "inspect": cli.Command(
        InspectConfig,
        "workbench.data.inspecting.inspection:inspect",
        "Count, measure and look through a data set: unreadable files, duplicates, leaks; write a page.",
        needs_tensorflow=False,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return cli.choose(COMMANDS, prog="python -m workbench.data", description=__doc__, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
