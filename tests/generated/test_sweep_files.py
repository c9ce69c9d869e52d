"""Generated sweep files: each is honoured, or refused before a worker starts."""

import os
from pathlib import Path
from typing import Any

import yaml
from hypothesis import event, given
from hypothesis import strategies as st

from cnn_scratch.config import TRIAL as CNN_TRIAL
from tests.generated.commands import Outcome, open_workspace, run_command
from tests.generated.profiles import examples
from tests.generated.sweep_files import right_files, wrong_files
from tests.generated.test_configurations import yaml_files
from transfer.defaults import TRIAL as TRANSFER_TRIAL
from workbench.config import build
from workbench.errors import UserError
from workbench.sweep.space import Space
from workbench.sweep.sweep_file import TrialOptions, read_space

TRIALS = {"cnn_scratch.tune": CNN_TRIAL, "transfer.tune": TRANSFER_TRIAL}
MODULES = st.sampled_from(sorted(TRIALS))
SEEDS = range(20)


def sweep(module: str, content: bytes, *options: str) -> tuple[Outcome, bool]:
    """Call a command that sweeps, whose data is missing; return what it did, and whether it accepted the sweep file."""
    Path("space.yaml").write_bytes(content)
    words = ["--data", "nope", "--workers", "0", "--space", "space.yaml", *options]
    outcome = run_command(module, *words, refused=True)
    assert os.listdir() == ["space.yaml"]
    is_accepted = "nope: no such folder" in outcome.error
    assert is_accepted or "--space" in outcome.error, outcome
    event("accepted" if is_accepted else "refused")
    return outcome, is_accepted


def check_space(space: Space, trial: TrialOptions) -> None:
    """Check that each value, and all but improbable draws, of each parameter can be trained with some point."""
    assert space.num_points >= 1
    for name, values in space.parameters.items():
        draws = space.list_draws().get(name)
        drawn = [space.decode({name: draws(seed)})[name] for seed in SEEDS] if draws else []
        for value in [*values, *drawn]:
            assert can_train(space, trial, name, value), f"{name} {value}"
    for number in {0, space.num_points // 2, space.num_points - 1}:
        assert space.get_point(number).keys() == space.parameters.keys()


def can_train(space: Space, trial: TrialOptions, name: str, value: Any) -> bool:
    """Return whether one of some points with this value passes the check before a trial."""
    for number in range(0, space.num_points, max(1, space.num_points // 50)):
        try:
            trial.check(build(trial.config_class, **{**space.get_point(number), **space.fixed, name: value}))
        except UserError:
            continue
        return True
    return False


@examples(15)
@given(st.data())
def test_a_right_sweep_file_is_honoured(data: st.DataObject) -> None:
    module = data.draw(MODULES)
    content = data.draw(right_files(module))
    with open_workspace() as place:
        outcome, is_accepted = sweep(module, yaml.safe_dump(content).encode())
        assert is_accepted, outcome
        space = read_space(place / "space.yaml", TRIALS[module])
        assert space.parameters.keys() | space.fixed.keys() == content["parameters"].keys()
        assert space.tuner == {"grid": "grid", "random": "random", "bayes": "bayesian"}.get(content.get("method", ""))
        assert space.max_trials == content.get("run_cap")
        assert (space.halving is not None) == ("early_terminate" in content)
        check_space(space, TRIALS[module])


@examples(20)
@given(st.data())
def test_a_wrong_sweep_file_is_refused_before_a_worker_starts(data: st.DataObject) -> None:
    module = data.draw(MODULES)
    content = data.draw(wrong_files(module))
    tuner = data.draw(
        st.sampled_from([(), (), ("--tuner", "hyperband"), ("--tuner", "random"), ("--max-trials", "all")])
    )
    with open_workspace() as place:
        _, is_accepted = sweep(module, yaml.safe_dump(content).encode(), *tuner)
        if is_accepted:
            check_space(read_space(place / "space.yaml", TRIALS[module]), TRIALS[module])


@examples(8)
@given(module=MODULES, content=yaml_files)
def test_any_text_as_a_sweep_file_is_refused_in_one_line(module: str, content: bytes) -> None:
    with open_workspace():
        sweep(module, content)
