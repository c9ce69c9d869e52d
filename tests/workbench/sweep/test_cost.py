import re

import pytest

from cnn_scratch.tune import TuneConfig, tune
from tests.workbench.sweep import noop
from workbench.config import build
from workbench.training import estimates

SPACE = """
parameters:
  epochs: {value: 1}
  num_filters: {value: 16}
  dense_units: {value: 16}
  learning_rate: {values: [0.001, 0.0001]}
  dropout: {values: [0.2, 0.4]}
"""


@pytest.fixture
def config(red_and_blue, workdir):
    (workdir / "space.yaml").write_text(SPACE)
    return {"data": str(red_and_blue), "image_size": 32, "space": "space.yaml", "name": "s", "workers": 0}


def expected(shown):
    return [line for line in shown.splitlines() if line.startswith("expected: ")]


def test_a_sweep_is_measured_before_it_starts(config, capsys, monkeypatch):
    monkeypatch.setattr(estimates, "_SHORT", 900)  # seconds: no sweep of this test is remembered, even if it is slow
    tune(build(TuneConfig, **config, max_trials=2))
    shown = capsys.readouterr().out
    (line,) = expected(shown)
    assert re.fullmatch(r"expected: [\d.]+ s \(2 trials\), [\d.]+ GB of memory, [\d.]+ MB on disk", line)
    assert shown.index(line) < shown.index("[1/2]")
    estimates.record_estimate("cnn_scratch.tune --tuner grid", 1000, 1200)
    tune(build(TuneConfig, **config, max_trials=4))
    (line,) = expected(capsys.readouterr().out)
    assert re.search(r"\(2 trials\).*; the last run took 1.20 times the estimate", line)
    tune(build(TuneConfig, **config, max_trials=4))
    assert expected(capsys.readouterr().out) == [], "nothing is left"


def test_a_budget_says_how_many_trials_it_is_for(workdir, capsys):
    (workdir / "space.yaml").write_text(f"parameters: {{batch_size: {{value: 500}}, seed: {{values: {[*range(99)]}}}}}")
    config = {"space": "space.yaml", "name": "s", "workers": 0}
    noop.tune(build(noop.NoopTuneConfig, **config, max_trials=3))
    assert expected(capsys.readouterr().out) == [], "nothing is known of such trials yet"
    noop.tune(build(noop.NoopTuneConfig, **config, max_trials="all", budget="2s"))
    (line,) = expected(capsys.readouterr().out)
    assert line.startswith("expected: 2.0 s (the budget; time for about 3 of 96 trials), ")
