"""Test that damaged image files cause no crash and are used or listed; benchmarks/fuzz_images.py does 5,000."""

import pytest

from benchmarks.damaged_images import MUTATIONS, write_damaged_images
from workbench.config import DataConfig
from workbench.data.config import InspectConfig
from workbench.data.dataset import load_dataset
from workbench.data.decoding import UnreadableImage, decode
from workbench.data.inspecting.inspection import inspect

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """Write 300 files; return (their folder, path -> mutation). Tests must not write to the folder."""
    root = tmp_path_factory.mktemp("data") / "fuzzed"
    return root, write_damaged_images(root, 300, seed=1)


@pytest.mark.usefixtures("workdir")
def test_every_file_is_used_or_listed_by_inspect_and_training_alike(fuzzed):
    root, mutations = fuzzed
    assert set(mutations.values()) == set(MUTATIONS)
    findings = inspect(InspectConfig(data=str(root)))
    used, unreadable = set(findings.scan.names), dict(findings.scan.unreadable)
    assert used | unreadable.keys() | set(findings.scan.others) == mutations.keys()
    assert len(used) + len(unreadable) + len(findings.scan.others) == 300
    page = findings.page.read_text()
    assert all(name in page for name in {*unreadable, *findings.scan.others})
    dataset = load_dataset(DataConfig(data=str(root), image_size=16, max_unreadable=1.0), seed=0)
    assert set(dataset.names) == used
    assert {name for name, _ in dataset.unreadable} == unreadable.keys()
    whole = {name for name, mutation in mutations.items() if mutation in ("whole", "wrong name")}
    assert whole <= used
    never = {name for name, mutation in mutations.items() if mutation in ("empty", "zeros")}
    assert not never & used
    assert all("\n" not in reason and reason for reason in unreadable.values())


def test_a_single_file_is_decoded_or_refused_with_a_reason(fuzzed):
    """Decode as predict does."""
    root, mutations = fuzzed
    shapes, reasons = [], []
    for name in mutations:
        try:
            shapes.append(decode((root / name).read_bytes(), 16, "crop").shape)
        except UnreadableImage as error:
            reasons.append(str(error))
    assert set(shapes) == {(16, 16, 3)}
    assert all(reasons)
    assert len(shapes) + len(reasons) == 300
