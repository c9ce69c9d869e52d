"""Hand out and take back the 9,216 points of the reference's sweep, with no training in between.

    python -m benchmarks.oracle_throughput

Prints how long it took and checks that every point came exactly once; then how long a second process needs to resume
the finished sweep.
"""

import tempfile
import time
from collections.abc import Hashable, Mapping
from pathlib import Path

from workbench.runtime import load_tensorflow

load_tensorflow()

from keras_tuner.engine.trial import TrialStatus

from cnn_scratch.config import TRIAL
from workbench.files import write_json
from workbench.sweep.hypermodel import TrialHyperModel
from workbench.sweep.keras_tuner_adapter.space import make_hyperparameters, make_objective
from workbench.sweep.results import ResultsRecorder, SweepResults, make_result
from workbench.sweep.scheduling.trial import Trial, Value
from workbench.sweep.space import Space
from workbench.sweep.sweep_file import read_space
from workbench.sweep.tuners import GridSearch

SPACE = Path(__file__).parents[1] / "configs" / "sweep.yaml"


class NoopHyperModel(TrialHyperModel):
    """Trains nothing; trials of one activation share a graph."""

    def make_graph_key(self, values: Mapping[str, Value]) -> Hashable:
        """Return the activation."""
        return values["activation"]


def make_search(space: Space, folder: str) -> GridSearch:
    """Return the sweep in `folder`, a new or a finished one."""
    return GridSearch(
        NoopHyperModel(),
        make_objective(space),
        hyperparameters=make_hyperparameters(space),
        grid=space.grid,
        order="shuffled",
        directory=folder,
        project_name="tuner",
    )


def run_all(search: GridSearch, space: Space, folder: str) -> set[str]:
    """Run all trials, record them as a sweep does, and return their values as text."""
    results = SweepResults(space.parameters, space.fixed, space.metric, space.direction)
    scheduler, oracle = search.oracle.scheduler, search.oracle
    recorder = ResultsRecorder(Path(folder) / "trials.csv", results, 5, scheduler.files.get_folder)

    def record(trial: Trial) -> None:
        recorder.add(make_result(trial.id, space.decode(trial.values), trial.result, space.metric))

    scheduler.add_listener(record)
    points = set()
    while (trial := oracle.create_trial("worker")).status != TrialStatus.STOPPED:
        points.add(str(trial.hyperparameters.values))
        trial_dir = scheduler.files.get_folder(trial.trial_id)
        trial_dir.mkdir()
        score = hash(trial.trial_id) % 1000 / 1000
        result = {"status": "completed", "reason": "", "val_accuracy": score, "val_loss": 1 - score, "seconds": 0.0}
        write_json(trial_dir / "result.json", result)
        oracle.end_trial(trial)
    return points


def main() -> None:
    """Run the command line."""
    space = read_space(SPACE, TRIAL)
    with tempfile.TemporaryDirectory() as folder:
        search = make_search(space, folder)
        start = time.perf_counter()
        points = run_all(search, space, folder)
        seconds = time.perf_counter() - start
        count = len(search.oracle.scheduler.list_finished())
        assert count == len(points) == space.num_points, (count, len(points))
        each = f"{1000 * seconds / count:.2f} ms each"
        print(f"{count:,} no-op trials, every point exactly once: {seconds:.1f} s ({each})")
        start = time.perf_counter()
        assert make_search(space, folder).oracle.create_trial("worker").status == TrialStatus.STOPPED
        print(f"resumed: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
