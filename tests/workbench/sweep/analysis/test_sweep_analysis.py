import dataclasses

import numpy as np
import pytest

from tests.workbench.synthetic import write_outcomes, write_sweep
from workbench.files import read_json
from workbench.sweep.analysis.sweep_analysis import analyse_sweep, write_analysis
from workbench.sweep.outcomes.sweep_outcomes import read_outcomes
from workbench.sweep.results import read_results


@pytest.fixture
def sweep(tmp_path):
    folder = write_sweep(tmp_path, 12)
    write_outcomes(folder)
    return folder


def test_a_sweep_says_what_its_winner_is_worth_and_which_trials_equal_it(sweep):
    results = read_results(sweep)
    analysis = analyse_sweep(sweep, results)
    winner, outcomes = analysis.honest_winner, read_outcomes(sweep)
    assert (analysis.winner, winner.trials, winner.images, winner.new_images) == (results.best.id, 12, 80, 50)
    assert winner.best == outcomes.compute_correct().mean(axis=1).max()
    assert winner.low < winner.expected < winner.high
    assert analysis.winner not in {trial.trial for trial in analysis.equal}
    assert 0 < len(analysis.equal) < 11
    assert analysis.smallest.parameters == min(trial.parameters for trial in analysis.equal)
    assert analysis.fastest.seconds == min(trial.seconds for trial in analysis.equal)
    assert analysis.ensemble.kept == 4
    assert set(analysis.ensemble.weights) <= {trial.id for trial in results.scored[:4]}
    average = sum(w * outcomes.get_probabilities(trial) for trial, w in analysis.ensemble.weights.items())
    assert analysis.ensemble.accuracy == (average.argmax(axis=1) == outcomes.labels).mean()
    first, second, third = analysis.describe()
    assert first.startswith(
        f"{winner.best:.1%} is the best of 12 trials; on 50 new images expect {winner.expected:.1%} ("
    )
    assert second.startswith(
        f"{len(analysis.equal)} other trials are not distinguishable from the winner; the smallest:"
    )
    assert third.startswith(f"an ensemble of {len(analysis.ensemble.weights)} of the 4 kept trials: expect ")


def test_an_ensemble_that_would_gain_nothing_is_not_offered(sweep):
    analysis = analyse_sweep(sweep, read_results(sweep))
    worse = dataclasses.replace(analysis.ensemble, gain=-0.005, low=-0.051, high=0.026)
    line = "no ensemble of the 4 kept trials is expected to gain accuracy (-0.5 points, -5.1 to +2.6)"
    assert dataclasses.replace(analysis, ensemble=worse).describe()[2] == line


def test_the_winner_of_a_sweep_by_loss_is_not_called_the_most_accurate(sweep):
    analysis = dataclasses.replace(analyse_sweep(sweep, read_results(sweep)), metric="val_loss")
    line = (
        f"{analysis.honest_winner.best:.1%} is the accuracy of the trial with the lowest loss of 12 trials; on 50 new"
    )
    assert analysis.describe_winner().startswith(line)


def test_the_analysis_is_written_as_json(sweep):
    analysis = analyse_sweep(sweep, read_results(sweep))
    write_analysis(sweep, analysis)
    content = read_json(sweep / "analysis.json")
    assert content["honest_winner"]["expected"] == analysis.honest_winner.expected
    assert [trial["trial"] for trial in content["equal"]] == [trial.trial for trial in analysis.equal]
    assert content["smallest"] == analysis.smallest.trial
    assert np.isclose(sum(content["ensemble"]["weights"].values()), 1)


def test_a_sweep_whose_best_trial_has_no_outcome_is_not_analysed(sweep, tmp_path):
    assert analyse_sweep(write_sweep(tmp_path / "old", 12), read_results(sweep)) is None
    results = read_results(sweep)
    index = sweep / "outcomes" / "index.csv"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for line in lines if not line.startswith(f"{results.best.id},")))
    assert analyse_sweep(sweep, results) is None
