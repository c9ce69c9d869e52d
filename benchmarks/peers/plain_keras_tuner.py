"""Sweep with keras_tuner.GridSearch as its documentation shows it: the other side of benchmarks/sweep_speed.py.

    python -m benchmarks.peers.plain_keras_tuner TRIALS

The network, the data and the points are this project's; the search and the training are KerasTuner's and Keras' alone.
"""

import argparse
import tempfile

import keras
import keras_tuner

from cnn_scratch.config import NetworkConfig
from cnn_scratch.model import build_cnn
from workbench.config import DataConfig
from workbench.data.dataset import load_dataset


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    """Build and compile the network of a trial."""
    config = NetworkConfig(
        num_filters=8,
        activation=hp.Choice("activation", ["mish", "gelu", "relu", "silu"]),
        batch_norm=hp.Boolean("batch_norm", True),
        dropout=hp.Choice("dropout", [0.2, 0.3, 0.4, 0.5]),
    )
    model = build_cnn(config, 32, 10)
    learning_rate = hp.Choice("learning_rate", [0.001, 0.005, 0.0001])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"], jit_compile=False)
    return model


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=int)
    trials = parser.parse_args().trials
    dataset = load_dataset(DataConfig(), seed=0)
    train = dataset.images[dataset.train], dataset.labels[dataset.train]
    validation = dataset.images[dataset.validation], dataset.labels[dataset.validation]
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.GridSearch(build, "val_accuracy", max_trials=trials, directory=folder, project_name="plain")
        tuner.search(*train, validation_data=validation, epochs=1, batch_size=32, verbose=0)


if __name__ == "__main__":
    main()
