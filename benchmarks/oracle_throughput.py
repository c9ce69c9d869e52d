"""Hand out and take back the 9,216 points of the reference's sweep, with no training in between.

    python -m benchmarks.oracle_throughput

Prints how long it took and checks that every point came exactly once; then how long a second process needs
to take up the finished sweep.
"""

import tempfile
import time
from pathlib import Path

from cnn_scratch.config import TrainConfig
from cnn_scratch.tune import VARIABLE
from workbench.files import write_json
from workbench.runtime import load_tensorflow

SPACE = Path(__file__).parents[1] / "configs" / "sweep.yaml"


def main():
    load_tensorflow()
    from keras_tuner.engine.trial import TrialStatus

    from workbench.sweep.oracle import GridOracle
    from workbench.sweep.space import read_space
    from workbench.sweep.table import TrialTable

    space = read_space(SPACE, TrainConfig, VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        oracle = GridOracle(space, graph_key=lambda values: values["activation"])
        oracle.begin(folder)
        table = TrialTable(Path(folder) / "trials.csv", oracle, keep=5)
        oracle.on_finish = table.add
        start, points = time.perf_counter(), set()
        while (trial := oracle.create_trial("worker")).status != TrialStatus.STOPPED:
            points.add(str(trial.hyperparameters.values))
            trial_dir = oracle.trial_dir(trial.trial_id)
            trial_dir.mkdir()
            score = hash(trial.trial_id) % 1000 / 1000
            result = {"status": "completed", "reason": "", "val_accuracy": score, "val_loss": 1 - score, "seconds": 0.0}
            write_json(trial_dir / "result.json", result)
            oracle.end_trial(trial)
        seconds = time.perf_counter() - start
        count = len(oracle.finished_trials())
        assert count == len(points) == len(space), (count, len(points))
        print(
            f"{count:,} no-op trials, every point exactly once: {seconds:.1f} s ({1000 * seconds / count:.2f} ms each)"
        )
        start = time.perf_counter()
        again = GridOracle(space)
        again.begin(folder)
        assert again.create_trial("worker").status == TrialStatus.STOPPED
        print(f"taken up again: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
