"""What the folders of runs hold, but for times: two trainings of the same network have equal states."""

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from workbench.files import read_csv

State = dict[str, str]  # path, relative -> what the file holds, but for times

# Values that may differ between calls: times and memory, whether features were cached, whether a trial began with the
# epochs of a shorter one (result.json has the history of all epochs), and in KerasTuner's oracle.json, of which nothing
# is read, the order in which trials were loaded and a seed that is not used.
_TIMES = re.compile(
    r"seconds|per_second|memory|started|ended|updated|sha256|model_bytes|^(features|feature_images|checksum)$"
    r"|^(resumed_after|observations)$"
    r"|^(start_order|seed|seed_state)$"
)
_IGNORED = re.compile(r"\.lock$|/\.[^/]+\.json$|estimates\.csv$|/\.filler$")  # locks and what describes their holders


def read_state(root: Path) -> State:
    """Return what each file under `root` holds; of pages, pictures and event files only whether they are there."""
    state = {}
    for path in sorted(root.rglob("*")):
        name = re.sub(r"events\.out\.tfevents\..*", "events", path.relative_to(root).as_posix())
        if path.is_file() and not _IGNORED.search(f"/{name}"):
            state[name] = _describe(path)
    return state


def find_temporary(state: State) -> list[str]:
    """Return the unfinished files of a state."""
    return [name for name in state if ".writing-" in name or ".partial" in name]


def drop_temporary(state: State) -> State:
    """Return a state without its temporary files; an unfinished array of decoded images is kept."""
    return {name: value for name, value in state.items() if ".writing-" not in name}


def _describe(path: Path) -> str:
    if path.suffix in (".html", ".png") or "tfevents" in path.name:
        return "present"
    try:
        if path.suffix == ".json":
            return json.dumps(_drop_times(json.loads(path.read_text())), sort_keys=True)
        if path.name == "config.yaml":  # a resumed run has an absolute `runs_dir`
            return re.sub(r"runs_dir: .*", "", path.read_text())
        if path.suffix == ".csv":
            return json.dumps(_drop_times(list(read_csv(path))))
        if path.suffix == ".keras":
            return _describe_model(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return _digest({name: array for name, array in arrays.items() if name != "rows"})
    except Exception as error:  # a torn file can raise nearly any exception of the readers
        return f"damaged: {type(error).__name__}, {path.stat().st_size} bytes"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _drop_times(value: Any) -> Any:
    """Return JSON without the values whose names speak of times, memory or the bytes of a file."""
    if isinstance(value, dict):
        return {name: _drop_times(each) for name, each in value.items() if not _TIMES.search(name)}
    return [_drop_times(each) for each in value] if isinstance(value, list) else value


def _describe_model(path: Path) -> str:
    """Return the digest of a model's weights and of its optimizer's variables."""
    arrays: dict[str, np.ndarray] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(add)
    return _digest(arrays)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
