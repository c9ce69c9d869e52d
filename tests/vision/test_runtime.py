import os

import pytest

from vision.runtime import stderr_held_back


@pytest.mark.parametrize(("stop", "shown"), [(ImportError, "chatter"), (KeyboardInterrupt, "")])
def test_native_chatter_is_shown_after_a_failure_but_not_after_ctrl_c(capfd, stop, shown):
    with pytest.raises(stop), stderr_held_back():
        os.write(2, b"chatter")
        raise stop
    assert capfd.readouterr().err == shown
