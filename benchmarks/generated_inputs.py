"""Run the commands on thousands of generated data folders, configurations, sweep files and damaged run folders.

    python -m benchmarks.generated_inputs [--examples 3000] [--seed 0] [PYTEST_OPTION ...]

The inputs and what must hold are those of `tests/generated`: exit code 0 or 2, at most one line of error, no traceback,
no file of the data or of an earlier run deleted or changed, and numbers that are those of the saved model. The tests of
the suite generate the same few hundred inputs each time; this generates others for each seed. Prints pytest's result,
and for each test how many inputs were accepted and refused.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import pytest

from tests.generated.profiles import EXAMPLES_VARIABLE

TESTS = Path(__file__).parents[1] / "tests" / "generated"


def main() -> int:
    """Run the command line and return pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=0)
    options, others = parser.parse_known_args()
    os.environ[EXAMPLES_VARIABLE] = str(options.examples)
    start = time.perf_counter()
    words = ["-q", "-p", "no:cacheprovider", "--hypothesis-show-statistics", f"--hypothesis-seed={options.seed}"]
    code = pytest.main([str(TESTS), *words, *others])
    print(f"{options.examples:,} generated inputs in {time.perf_counter() - start:,.0f} s")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
