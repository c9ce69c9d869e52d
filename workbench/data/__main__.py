"""Prepare the home data set, and look at any data set before training on it."""

import dataclasses

from workbench import cli
from workbench.data.inspection import InspectConfig, inspect

PROG = "python -m workbench.data"


@dataclasses.dataclass(frozen=True)
class Nature12kConfig:
    """Where nature_12k comes from.

    Args:
        archive: A copy of nature_12K.zip that you have already; without it the archive is downloaded (3.6 GB).
        folder: The unpacked archive, if you have that already: it holds train/ and val/.
        register_checksum: Note the SHA-256 of what was downloaded in workbench/data/checksums.tsv; from then on
            a download must have it.
    """

    archive: str | None = None
    folder: str | None = None
    register_checksum: bool = False


def nature_12k(config):
    """Prepare nature_12k, see `workbench.data.nature_12k.prepare`; TensorFlow comes in only here."""
    from workbench.runtime import load_tensorflow

    load_tensorflow(use_gpu=False)
    from workbench.data.nature_12k import prepare

    return prepare(config)


COMMANDS = {
    "nature_12k": (
        nature_12k,
        Nature12kConfig,
        "Download and prepare the 10-class iNaturalist subset for --data nature_12k.",
    ),
    "inspect": (
        inspect,
        InspectConfig,
        "Count, measure and look through a data set: unreadable files, duplicates, leaks; writes a page.",
    ),
}


def main(argv=None):
    """Run the command line."""
    cli.choose(COMMANDS, prog=PROG, description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
