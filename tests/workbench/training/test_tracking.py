import errno

import pytest

from workbench.training.tracking import log_to_tensorboard

resource = pytest.importorskip("resource", reason="Windows has no limits of processes")


def test_a_disk_that_is_too_full_for_event_files_is_an_error_of_the_disk(tmp_path):
    """In a sweep, any other error would count as one of the trial, which would not be run again."""
    log = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second"), 1.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match="File too large") as error, log_to_tensorboard(tmp_path) as listen:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # as `ulimit -f 0`
            listen({"epoch": 1, **log})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(tmp_path))
