"""A fine-tuning that does not fit into memory is refused before it begins."""

from pathlib import Path

import keras
import pytest

from transfer.memory import estimate_memory
from transfer.run import run
from workbench.config import replace
from workbench.errors import UserError


def test_the_estimate_by_hand():
    image = keras.Input((4, 4, 3))
    frozen = keras.layers.Conv2D(2, 1, trainable=False)
    x = keras.layers.Conv2D(5, 1)(frozen(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2)(x))
    part = keras.Model(frozen.output, model.output)
    parameters, trained = (3 * 2 + 2) + (2 * 5 + 5) + (5 * 2 + 2), (2 * 5 + 5) + (5 * 2 + 2)
    kept, features = 4 * 4 * 2 + 5, 4 * 4 * 2
    assert estimate_memory(model, part, 10, 0) == 4 * parameters + 12 * trained + 2 * 10 * kept
    assert estimate_memory(model, part, 1, 7) == 4 * parameters + 12 * trained + 4 * 7 * features
    assert estimate_memory(model, model, 10, 7) == 4 * parameters + 12 * trained + 2 * 10 * kept


def test_too_large_images_and_batches_are_refused(config, monkeypatch):
    monkeypatch.setattr("transfer.memory.measure_memory", lambda: 10**4)
    said = (
        r"--image-size 32, --batch-size 8: network has [\d,]+ parameters, .* takes at least .*B of memory; this machine"
    )
    with pytest.raises(UserError, match=said):
        run(replace(config, mode="all", views=0))
    assert not Path("runs").exists()
