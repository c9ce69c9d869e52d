import numpy as np

from workbench.app import loaded_model
from workbench.app.models import ModelShelf


def test_similar_photos_say_how_many_were_searched(tiny_run, monkeypatch):
    monkeypatch.setattr(loaded_model, "_SEARCHED", 5)
    model = ModelShelf().open(tiny_run)
    total = len(model.run.load_dataset().train)
    found = model.find_similar(np.zeros((model.size, model.size, 3), np.uint8), 8)
    assert len(found.photos) == 5
    assert found.describe() == f"The most similar among 5 of the {total} training photos"
