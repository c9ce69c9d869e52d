"""The folders of a sweep's trials: what survives when its processes are killed.

A trial has the folder `trial_<id>`. Its worker writes `result.json` there when it is done, and the scheduler writes
`trial.json` when it has recorded the trial. A trial with both files is finished; any other is run again.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.files import read_json, write_json
from workbench.sweep.scheduling.trial import Trial

State = dict[str, Any]  # the content of trial.json


def encode_trial(trial: Trial) -> State:
    """Return the content of `trial.json`, with KerasTuner's keys."""
    return {
        "trial_id": trial.id,
        "hyperparameters": {"space": [], "values": trial.values},
        "metrics": {"metrics": {}},
        "score": trial.score,
        "best_step": trial.result.get("best_step", 0),
        "status": "FAILED" if trial.status == "failed" else "COMPLETED",
        "message": trial.reason or None,
    }


def decode_trial(state: State, result: dict[str, Any]) -> Trial:
    """Return a finished trial from the content of `trial.json` and `result.json`."""
    status = "failed" if state["status"] == "FAILED" else result["status"]
    values, reason = state["hyperparameters"]["values"], state["message"] or ""
    return Trial(state["trial_id"], values, status=status, score=state["score"], reason=reason, result=result)


class TrialFiles:
    """Reads and writes the trials of a sweep.

    Args:
        folder: holds the folders of the trials.
        encode, decode: convert a trial to the content of `trial.json` and back.
    """

    def __init__(
        self,
        folder: Path | str,
        encode: Callable[[Trial], State] = encode_trial,
        decode: Callable[[State, dict[str, Any]], Trial] = decode_trial,
    ) -> None:
        self.folder, self._encode, self._decode = Path(folder), encode, decode

    def get_folder(self, trial_id: str) -> Path:
        """Return the folder of a trial's files."""
        return self.folder / f"trial_{trial_id}"

    def load(self) -> list[Trial]:
        """Return the finished trials, in the order of their ids, and remove what unfinished ones have left behind."""
        trials = []
        for folder in sorted(self.folder.glob("trial_*")):
            state, result = read_json(folder / "trial.json"), read_json(folder / "result.json")
            if state is not None and not (folder / "result.json").exists():
                result = _read_foreign_result(state)
            if state is None or result is None:
                shutil.rmtree(folder)
            else:
                trials.append(self._decode(state, result))
        return trials

    def read_result(self, trial_id: str) -> dict[str, Any] | None:
        """Return what the worker of a trial has recorded, None if it is not done."""
        return read_json(self.get_folder(trial_id) / "result.json")

    def save(self, trial: Trial) -> None:
        """Record that a trial is finished."""
        folder = self.get_folder(trial.id)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "result.json", trial.result)
        write_json(folder / "trial.json", self._encode(trial))

    def discard_result(self, trial_id: str) -> None:
        """Remove the result of a trial that is run again."""
        (self.get_folder(trial_id) / "result.json").unlink(missing_ok=True)


def _read_foreign_result(state: State) -> dict[str, Any] | None:
    """Return the result of a finished trial that KerasTuner has written, None of another one."""
    if state.get("status") not in ("COMPLETED", "FAILED"):
        return None
    return {"status": state["status"].lower(), "reason": state.get("message") or "", "score": state.get("score")}
