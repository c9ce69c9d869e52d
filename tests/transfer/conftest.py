"""A small fine-tuning that every test of the part can change."""

import pytest

from transfer.settings import TransferConfig


@pytest.fixture
def config(photo_folder, workdir):
    """MobileNetV2 without pretrained weights on generated photos of three classes at 32 px."""
    data = photo_folder(train=10, test=3)
    return TransferConfig(
        data=str(data), image_size=32, backbone="MobileNetV2", weights="none", epochs=2, batch_size=8, name="r"
    )
