"""The folders of a sweep's trials: what survives when its processes are killed.

A trial has the folder `trial_<id>`, and in it each worker that runs the trial has a folder `attempt-<worker>`, into
which it writes `result.json` when it is done. The first attempt that is reported is recorded: the scheduler moves its
files into the trial's folder and then writes `trial.json`. A trial with both files is finished; any other is run again.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.files import read_json, write_json
from workbench.sweep.scheduling.trial import Trial

State = dict[str, Any]  # the content of trial.json
_ATTEMPT = "attempt-"


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

    def open_attempt(self, trial_id: str, worker: str) -> Path:
        """Return the empty folder for the files of a worker that begins to run a trial."""
        folder = self.get_folder(trial_id) / f"{_ATTEMPT}{worker}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

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
                for attempt in folder.glob(f"{_ATTEMPT}*"):
                    shutil.rmtree(attempt, ignore_errors=True)
                trials.append(self._decode(state, result))
        return trials

    def read_result(self, trial_id: str) -> tuple[dict[str, Any] | None, Path]:
        """Return what a worker of a trial has recorded, None if none is done, and the folder of its files."""
        folder = self.get_folder(trial_id)
        for attempt in (*sorted(folder.glob(f"{_ATTEMPT}*")), folder):
            result = read_json(attempt / "result.json")
            if result is not None:
                return result, attempt
        return None, folder

    def save(self, trial: Trial, attempt: Path | None = None) -> None:
        """Record that a trial is finished.

        Args:
            trial: the trial.
            attempt: folder of the worker's files, which become those of the trial; None for a worker that has died.
        """
        folder = self.get_folder(trial.id)
        folder.mkdir(parents=True, exist_ok=True)
        if attempt is not None and attempt != folder:
            for path in attempt.iterdir():
                os.replace(path, folder / path.name)
            shutil.rmtree(attempt, ignore_errors=True)
        write_json(folder / "result.json", trial.result)
        write_json(folder / "trial.json", self._encode(trial))

    def discard_result(self, trial_id: str) -> None:
        """Remove the results of a trial that is run again."""
        self.discard_attempts(trial_id)
        (self.get_folder(trial_id) / "result.json").unlink(missing_ok=True)

    def discard_attempts(self, trial_id: str) -> None:
        """Remove the files of workers that are done with a trial, but whose result is not that of the trial."""
        for result in self.get_folder(trial_id).glob(f"{_ATTEMPT}*/result.json"):
            shutil.rmtree(result.parent, ignore_errors=True)


def _read_foreign_result(state: State) -> dict[str, Any] | None:
    """Return the result of a finished trial that KerasTuner has written, None of another one."""
    if state.get("status") not in ("COMPLETED", "FAILED"):
        return None
    return {"status": state["status"].lower(), "reason": state.get("message") or "", "score": state.get("score")}
