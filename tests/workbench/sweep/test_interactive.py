import dataclasses
import json

import pytest

from tests.workbench.synthetic import write_sweep
from workbench.sweep.figures.importance import estimate_importance
from workbench.sweep.figures.interactive import build_charts
from workbench.sweep.results import read_results


def test_the_charts_show_every_trial(tmp_path):
    results = read_results(write_sweep(tmp_path, 60, failed=0.1, pruned=0.2))
    charts = {chart.id: chart for chart in build_charts(results, estimate_importance(results))}
    assert list(charts) == ["parallel", "progress", "parameters", "importance"]
    parallel = charts["parallel"].figure["data"][0]
    assert [axis["label"] for axis in parallel["dimensions"]] == [*results.parameters, "validation accuracy"]
    assert {len(axis["values"]) for axis in parallel["dimensions"]} == {len(results.scored)}
    scores = sorted(parallel["dimensions"][-1]["values"])
    assert scores[-1] == pytest.approx(results.best.score, rel=1e-4)
    dots = [trace for trace in charts["progress"].figure["data"] if trace["mode"] == "markers"]
    assert {trace["name"]: len(trace["x"]) for trace in dots} == {
        status: sum(trial.status == status for trial in results.trials) for status in ("completed", "pruned", "failed")
    }
    best = next(trace for trace in charts["progress"].figure["data"] if trace["name"] == "best so far")
    assert best["y"] == sorted(best["y"])
    assert any(f"trial {results.best.id}<" in text for trace in dots for text in trace["text"])
    assert charts["importance"].title == "learning_rate matters most"
    json.dumps([dataclasses.asdict(chart) for chart in charts.values()], allow_nan=False)


def test_few_trials_have_few_charts(tmp_path):
    assert build_charts(read_results(write_sweep(tmp_path, 0))) == []
    assert [chart.id for chart in build_charts(read_results(write_sweep(tmp_path, 1)))] == ["progress", "parameters"]
    assert build_charts(read_results(write_sweep(tmp_path, 3, failed=1.0))) == []


def test_names_and_reasons_are_shown_as_text(tmp_path):
    results = read_results(write_sweep(tmp_path, 9, failed=0.5))
    evil = "<a href='javascript:alert(1)'>x</a>"
    renamed = dataclasses.replace(
        results,
        parameters={evil: [0.2, 0.5, 0.4, 0.3]},
        scored=[
            dataclasses.replace(trial, values={evil: trial.values["dropout"]}, id=evil) for trial in results.scored
        ],
        failed=[dataclasses.replace(trial, reason=evil) for trial in results.failed],
    )
    assert "<a" not in json.dumps([dataclasses.asdict(chart) for chart in build_charts(renamed)])
    assert "&lt;a" in json.dumps([dataclasses.asdict(chart) for chart in build_charts(renamed)])


def test_many_trials_keep_the_best_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.sweep.figures.interactive._MOST", 50)
    results = read_results(write_sweep(tmp_path, 300))
    (parallel, *_) = build_charts(results)
    values = parallel.figure["data"][0]["dimensions"][-1]["values"]
    assert len(values) == 100 + 34
    assert "one in 6 of the others" in parallel.caption
    assert max(values) == pytest.approx(results.best.score, rel=1e-4)
