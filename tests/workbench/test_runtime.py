import importlib.util
import os
import platform
import subprocess
import sys

import pytest
from tensorflow.python.util import _pywrap_util_port

from workbench.runtime import hold_back_stderr


@pytest.mark.parametrize(("stop", "shown"), [(ImportError, "chatter"), (KeyboardInterrupt, "")])
def test_native_chatter_is_shown_after_a_failure_but_not_after_ctrl_c(capfd, stop, shown):
    with pytest.raises(stop), hold_back_stderr():
        os.write(2, b"chatter")
        raise stop
    assert capfd.readouterr().err == shown


def test_what_is_not_used_is_not_imported():
    code = (
        "import sys; from workbench.runtime import load_tensorflow; load_tensorflow(); "
        "print({'sklearn', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    assert all(map(importlib.util.find_spec, ("sklearn", "matplotlib")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform == "darwin", reason="this TensorFlow has no oneDNN")
def test_convolutions_use_onednn_on_every_processor():
    assert _pywrap_util_port.IsMklEnabled()
