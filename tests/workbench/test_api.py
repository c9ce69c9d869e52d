"""The Python API: the example of docs/api.md, and how the functions are imported."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_scratch
import workbench
from cnn_scratch import train, tune
from cnn_scratch.config import TrainConfig
from workbench.commandline.keywords import make_config
from workbench.errors import UserError
from workbench.evaluation.probabilities import softmax
from workbench.finished_run import FinishedRun
from workbench.sweep.finished_sweep import FinishedSweep

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_example_of_the_page(workdir, capsys):
    example, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(example, PAGE, "exec"), names)
    run, sweep, tuned = names["run"], names["sweep"], names["tuned"]
    assert isinstance(run, FinishedRun)
    assert names["logits"].shape == (4, 10)
    assert names["model"].output_shape == (None, 10)
    assert 0.1 < run.metrics["val_accuracy"] <= 1
    assert isinstance(sweep, FinishedSweep)
    assert sorted(trial.values["learning_rate"] for trial in sweep.trials) == [0.001, 0.01]
    assert sweep.trials[0].val_accuracy == max(trial.val_accuracy for trial in sweep.trials)
    assert workbench.open_sweep(sweep.path).trials == sweep.trials
    assert tuned.config["from_"] == str(run.path)
    assert names["exported"].path.exists()
    assert "best epoch" in capsys.readouterr().out  # what the command prints


@pytest.mark.figures
def test_finished_runs(tiny_run, photos):
    run = workbench.open_run(tiny_run)
    photo = next((photos / "test" / "iris").iterdir())
    (prediction,) = workbench.predict(run, [photo], top_k=2)
    probabilities = softmax(np.asarray(run.model(np.asarray(Image.open(photo))[None], training=False))[0])
    assert prediction.image == str(photo)
    assert prediction.classes == [
        (run.class_names[c], pytest.approx(probabilities[c], abs=1e-5)) for c in np.argsort(-probabilities)[:2]
    ]
    for image in (photo, str(photo)):  # one image needs no list
        assert workbench.predict(run, image, top_k=2) == [prediction]
    assert workbench.evaluate(run)["accuracy"] == run.metrics["test"]["accuracy"]
    assert workbench.report(run) == tiny_run / "report.html"
    for images in ("nowhere.png", Path("nowhere.png"), ["nowhere.png"]):
        with pytest.raises(UserError, match=r"nowhere\.png: no such file"):
            workbench.explain(run, images)
    for runs in ([run, tiny_run], run, tiny_run, str(tiny_run)):
        with pytest.raises(UserError, match="at least two runs, and each only once"):
            workbench.compare(runs)
    with pytest.raises(UserError, match="not the folder of a sweep; open it with open_run"):
        workbench.open_sweep(run)


@pytest.mark.figures
def test_an_opened_run_keeps_where_its_data_and_results_are(tiny_run, photos, configure, tmp_path):
    configure(tiny_run, data="/no/such/photos")
    other = shutil.copytree(tiny_run, tmp_path / "other")
    before = sorted(tiny_run.rglob("*"))
    run = workbench.open_run(tiny_run, data=str(photos), output=tmp_path / "out")
    assert workbench.evaluate(run)["accuracy"] == run.metrics["test"]["accuracy"]
    assert workbench.report(run) == tmp_path / "out" / "report.html"
    assert workbench.export(run).path.parent == tmp_path / "out" / "export"
    rows = workbench.compare([run, workbench.open_run(other, data=str(photos))], output=str(tmp_path / "compared"))
    assert rows[0]["accuracy"] == rows[1]["accuracy"] == run.metrics["test"]["accuracy"]
    assert sorted(tiny_run.rglob("*")) == before
    with pytest.raises(UserError, match="name its new place with --data"):
        workbench.evaluate(run, data=None)


def test_numpy_numbers_are_options(workdir):
    config = make_config(TrainConfig, "train", {"learning_rate": np.float64(0.5), "image_size": np.int64(48)})
    assert (config.training.learning_rate, config.data.image_size) == (0.5, 48)
    with pytest.raises(UserError, match=r"dropout.*7\.0"):
        tune({"dropout": np.array([0.1, 7.0]), "dense_units": (np.int64(8),)}, workers=0)


def test_what_cannot_be_asked_for(workdir):
    with pytest.raises(TypeError, match=r"train\(\) has no option 'epoch'; did you mean 'epochs'"):
        train(epoch=3)
    with pytest.raises(UserError, match=r"train\(\): epochs: 'many' is not allowed; expected a whole number"):
        train(epochs="many")
    with pytest.raises(UserError, match="activation"):
        tune({"activation": ["none of them"]}, workers=0)
    with pytest.raises(UserError, match="no such run folder"):
        workbench.evaluate("nowhere")
    assert not (workdir / "runs").exists()


def test_a_function_is_not_hidden_by_its_module():
    import cnn_scratch.train as imported

    assert "cnn_scratch.train" in sys.modules
    assert cnn_scratch.train is train is imported
    assert sys.modules["cnn_scratch.train"].train is not train
    assert {"build_cnn", "train", "tune"} <= set(dir(cnn_scratch))
    with pytest.raises(ImportError, match="no_such_thing"):
        from cnn_scratch import no_such_thing  # noqa: F401


def test_importing_the_packages_and_the_comparison_does_not_start_tensorflow():
    code = "import sys, cnn_scratch, transfer, workbench, transfer.compare; "
    code += "print({'tensorflow', 'keras'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PAGE.parents[1])
    assert (ran.stdout, ran.stderr) == ("set()\n", "")
