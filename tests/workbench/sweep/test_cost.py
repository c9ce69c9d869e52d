"""The expected cost of a sweep; for sweeps that train networks see `tests/cnn_scratch/test_tune.py`."""

from tests.workbench.sweep import noop
from workbench.config import build


def test_a_budget_says_how_many_trials_it_is_for(workdir, capsys):
    (workdir / "space.yaml").write_text(f"parameters: {{batch_size: {{value: 500}}, seed: {{values: {[*range(99)]}}}}}")
    config = {"space": "space.yaml", "name": "s", "workers": 0}
    noop.tune(build(noop.NoopTuneConfig, **config, max_trials=3))
    assert noop.find_expected(capsys.readouterr().out) == [], "nothing is known of such trials yet"
    noop.tune(build(noop.NoopTuneConfig, **config, max_trials="all", budget="2s"))
    (line,) = noop.find_expected(capsys.readouterr().out)
    assert line.startswith("expected: 2.0 s (the budget; time for about 3 of 96 trials), ")
