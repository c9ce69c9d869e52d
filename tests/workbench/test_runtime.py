import dataclasses
import gc
import importlib
import importlib.util
import os
import platform
import subprocess
import sys
import threading

import pytest
import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port

from workbench import cli
from workbench.runtime import distribute, hold_back_stderr, import_without_collections, skip_optional_imports

START = """
import dataclasses, gc, sys
from workbench import cli

@dataclasses.dataclass
class Config:
    pass

collections = []

def note_collection(phase, info):
    if phase == "start":
        collections.append(info)

def show(config):
    imported = {"sklearn", "scipy", "matplotlib", "pandas", "IPython", "keras_tuner"} & set(sys.modules)
    skips = gc.get_freeze_count() > 100_000
    print(f"imported {imported}, {len(collections)} collections, collects {gc.isenabled()}, skips later {skips}")

before = lambda config: gc.callbacks.append(note_collection)
command = cli.Command(Config, show, description="Show.", before=before, needs_keras_tuner=True)
sys.exit(cli.main(command))
"""


@pytest.mark.parametrize(("stop", "shown"), [(ImportError, "chatter"), (KeyboardInterrupt, "")])
def test_native_chatter_is_shown_after_a_failure_but_not_after_ctrl_c(capfd, stop, shown):
    with pytest.raises(stop), hold_back_stderr():
        os.write(2, b"chatter")
        raise stop
    assert capfd.readouterr().err == shown


def test_a_command_starts_without_libraries_that_it_does_not_use_and_without_collecting_garbage():
    assert all(map(importlib.util.find_spec, ("sklearn", "scipy", "matplotlib", "IPython")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "imported {'keras_tuner'}, 0 collections, collects True, skips later True"


def test_other_threads_import_the_libraries_that_a_thread_skips(monkeypatch, tmp_path):
    (tmp_path / "slow_library.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("workbench.runtime._OPTIONAL", ("slow_library",))
    imported = []
    with skip_optional_imports():
        with pytest.raises(ImportError):
            importlib.import_module("slow_library")
        other = threading.Thread(target=lambda: imported.append(importlib.import_module("slow_library")))
        other.start()
        other.join()
    assert imported == [importlib.import_module("slow_library")]


@dataclasses.dataclass
class Config:
    pass


def test_a_command_in_a_program_leaves_the_collection_of_its_garbage_alone():
    counts = []
    command = cli.Command(
        Config, lambda config: counts.append(gc.get_freeze_count()), description="Count.", needs_tensorflow=False
    )
    objects = [[] for _ in range(10_000)]
    assert cli.main(command, []) == 0
    gc.freeze()
    assert gc.get_freeze_count() > counts[0] + len(objects)


def test_garbage_is_collected_again_after_an_import_that_failed():
    with pytest.raises(ImportError), import_without_collections():
        raise ImportError
    assert gc.isenabled()


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform == "darwin", reason="this TensorFlow has no oneDNN")
def test_convolutions_use_onednn_on_every_processor():
    assert _pywrap_util_port.IsMklEnabled()


def test_one_device_trains_without_a_strategy():
    with distribute("mirrored"):
        assert not tf.distribute.has_strategy()
