import numpy as np
import pytest

from workbench.evaluation.prediction import predict_logits


class CountingModel:
    """A model whose logits are 0. It counts the images of each batch."""

    def __init__(self):
        self.batches = []

    def predict_on_batch(self, images):
        self.batches.append(len(images))
        return np.zeros((len(images), 2), np.float32)


@pytest.mark.parametrize(
    ("size", "batches"), [(32, [64, 6]), (224, [64, 6]), (448, [16, 16, 16, 16, 6]), (1024, [3] * 23 + [1])]
)
def test_a_batch_of_large_images_is_smaller(size, batches):
    images, model = np.broadcast_to(np.uint8(0), (9, size, size, 3)), CountingModel()
    assert predict_logits(model, images, np.arange(70) % 9, "testing").shape == (70, 2)
    assert model.batches == batches


def test_an_image_larger_than_a_batch_is_predicted_alone():
    model = CountingModel()
    predict_logits(model, np.broadcast_to(np.uint8(0), (2, 4096, 4096, 3)), np.arange(2), "testing")
    assert model.batches == [1, 1]
