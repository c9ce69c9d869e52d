from tests.workbench.sweep.noop import NoopTuneConfig, tune
from workbench.config import build
from workbench.sweep import progress


def sweep(workdir, capsys, name):
    (workdir / "space.yaml").write_text(
        "parameters: {epochs: {values: [1]}, batch_size: {values: [10]}, seed: {min: 0, max: 6}}"
    )
    tune(build(NoopTuneConfig, space="space.yaml", name=name, max_trials="all", workers=0))
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("at this speed")]


def test_advice_for_a_sweep_of_days_is_printed_once(workdir, capsys, monkeypatch):
    assert sweep(workdir, capsys, "short") == []
    monkeypatch.setattr(progress, "LONG", 0.001)
    (line,) = sweep(workdir, capsys, "long")
    assert "days. --budget 8h ends it after about " in line
    assert "Ctrl-C keeps the finished trials." in line
    assert int(line.partition("about ")[2].split()[0].replace(",", "")) > 1000
