"""How many inputs hypothesis generates: the profile `suite` for the tests, `thousands` for the benchmark."""

import math
import os

from hypothesis import HealthCheck, Phase, settings

EXAMPLES_VARIABLE = "GENERATED_EXAMPLES"  # set by the benchmark: examples in all
SUITE_EXAMPLES = 182  # sum of the numbers that the tests give to `examples`

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
_PHASES = [Phase.explicit, Phase.generate]  # failing inputs are not made smaller, which can take minutes for each


def load_profile() -> None:
    """Choose the profile: `thousands` where the benchmark has set a number of examples, else `suite`."""
    number = int(os.environ.get(EXAMPLES_VARIABLE, SUITE_EXAMPLES))
    common = settings(max_examples=number, deadline=None, database=None, phases=_PHASES, suppress_health_check=_SLOW)
    settings.register_profile("suite", common, derandomize=True)
    settings.register_profile("thousands", common, print_blob=True)
    settings.load_profile("thousands" if EXAMPLES_VARIABLE in os.environ else "suite")


def examples(count: int) -> settings:
    """Return the settings of a test that has `count` examples in the suite, and its share of them in the benchmark."""
    number = int(os.environ.get(EXAMPLES_VARIABLE, SUITE_EXAMPLES))
    return settings(max_examples=math.ceil(count * number / SUITE_EXAMPLES))
