"""What the tests with generated inputs share: hypothesis' profile, and finished runs that each example copies."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import write_red_and_blue
from tests.generated.commands import run_command
from tests.generated.profiles import load_profile

load_profile()
TINY = ("--image-size", "32", "--num-filters", "2", "--dense-units", "4", "--precision", "float32", "--batch-size", "8")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_cache: None) -> Path:
    """Return a folder with `photos` and `runs/tiny`, trained and tested; it must not be written to."""
    folder = tmp_path_factory.mktemp("finished")
    write_red_and_blue(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_command("cnn_scratch.train", "--data", "photos", "--name", "tiny", "--epochs", "2", *TINY, refused=False)
        run_command("workbench.evaluate", "runs/tiny", refused=False)
    shutil.rmtree(folder / "logs")
    return folder
