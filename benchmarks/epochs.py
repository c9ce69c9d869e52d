"""Compare whole epochs with PyTorch, augmentation and validation included: training photos a second.

    python -m benchmarks.epochs FOLDER [--size 64] [--batch 32] [--epochs 3] [--float32] [--python PYTHON]

Both sides train the five blocks (32 filters of 3x3 doubling from block to block, batch norm, ReLU, Adam) on photos that
were decoded before. They flip each photo at random, move it, and vary brightness, contrast and saturation, each by the
same amounts; a fifth of the photos validates. What counts is the fastest epoch after the first, and on our side also
without augmentation, which shows what it costs. PyTorch (benchmarks/peers/torch_epochs.py, in its four settings:
channels-last or not, bfloat16 or not) runs in a process of its own by the interpreter PYTHON; if that has no PyTorch,
its side is left out.
"""

import argparse
import sys
from pathlib import Path

from workbench.runtime import load_tensorflow

load_tensorflow()  # quietly, before an import below does it

from benchmarks.trainings import run_torch
from cnn_scratch.config import NetworkConfig
from cnn_scratch.fast_model import build_fast_model
from cnn_scratch.model import build_cnn
from workbench.config import DataConfig, TrainingConfig
from workbench.data.dataset import Dataset, load_dataset
from workbench.data.pipeline import count_steps
from workbench.training.loop import fit
from workbench.training.optimizer import choose_steps_per_execution, compile_model

PEER = Path(__file__).parent / "peers" / "torch_epochs.py"
NETWORK = NetworkConfig(num_filters=32, filter_org="double")


def measure(folder: str, options: argparse.Namespace) -> dict[str, float]:
    """Return the training photos a second of each side and setting."""
    dataset = load_dataset(DataConfig(data=folder, image_size=options.size), seed=0)
    rates = {}
    for precision in ("float32",) if options.float32 else ("float32", "bfloat16"):
        rates[f"ours {precision}"] = measure_epochs(dataset, precision, options)
        rates[f"ours {precision}, not augmented"] = measure_epochs(dataset, precision, options, augmented=False)
    return {**rates, **measure_torch_rates(folder, options)}


def measure_epochs(dataset: Dataset, precision: str, options: argparse.Namespace, augmented: bool = True) -> float:
    """Return the training photos a second of the fastest epoch after the first, which traces."""
    training = TrainingConfig(epochs=options.epochs, batch_size=options.batch, data_aug=augmented, shift=0.1)
    model = build_fast_model(build_cnn(NETWORK, options.size, len(dataset.class_names)), precision)
    at_once = choose_steps_per_execution(count_steps(dataset, options.batch))
    compile_model(model, training, steps_per_execution=at_once)
    history = fit(model, dataset, training).history
    return len(dataset.train) / min(epoch["seconds"] for epoch in history[1:])


def measure_torch_rates(folder: str, options: argparse.Namespace) -> dict[str, float]:
    """Return the training photos a second of PyTorch's settings; nothing if the interpreter has no PyTorch."""
    network = ["--recipe=fixed", "--filters=32", "--filter-org=double", "--kernel=3", "--activation=relu"]
    numbers = [f"--{name}={getattr(options, name)}" for name in ("size", "batch", "epochs")]
    return run_torch(options.python, PEER, folder, *network, *numbers, *["--float32"] * options.float32)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of photos with train/<class>/")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images of a training step")
    parser.add_argument("--epochs", type=int, default=3, help="of each setting; the first is not counted")
    parser.add_argument("--float32", action="store_true", help="leave bfloat16 out, where the processor has none")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs must be at least 2: the first epoch is not counted")
    rates = measure(options.folder, options)
    ours = max(rate for label, rate in rates.items() if label.startswith("ours") and "not augmented" not in label)
    print(f"\n{options.folder}: {options.size} px, batches of {options.batch}")
    for label, rate in rates.items():
        print(f"  {label:32s}{rate:8.1f} photos/s   ours is {ours / rate:5.2f}x", flush=True)


if __name__ == "__main__":
    main()
