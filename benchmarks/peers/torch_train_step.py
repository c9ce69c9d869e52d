"""Measure a training step of a PyTorch network, in its four settings: channels-last or not, bfloat16 or not.

    python benchmarks/peers/torch_train_step.py FILE [--size 224] [--filters 32] [--batch 32] [--classes 12] ...

FILE defines the network as `network(options, num_classes)`, such as torch_baseline.py. Prints one line of JSON: images
a second of each setting's fastest step. benchmarks/train_step.py starts this as a process of its own.
"""

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from types import ModuleType

import torch
from torch_baseline import DEVICE, Trainer, add_network_options

Step = Callable[[], None]


def load_module(path: str) -> ModuleType:
    """Import the file at `path`."""
    spec = importlib.util.spec_from_file_location("peer", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_steps(peer: ModuleType, options: argparse.Namespace) -> dict[str, Step]:
    """Return a training step for each setting, on one batch of random images."""
    torch.manual_seed(0)
    images = torch.rand(options.batch, 3, options.size, options.size) * 2 - 1
    labels = torch.randint(options.classes, (options.batch,))
    return {
        "PyTorch" + " channels-last" * channels_last + " bfloat16" * bf16: build_step(
            peer.network(options, options.classes), images, labels, channels_last, bf16
        )
        for channels_last in (False, True)
        for bf16 in ((False,) if options.float32 else (False, True))
    }


def build_step(
    model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, channels_last: bool, bf16: bool
) -> Step:
    """Return a function that takes one training step in a setting."""
    model(images[:2])  # gives a lazy layer its size
    trainer = Trainer(model, 1e-3, channels_last, bf16)
    images, labels = images.to(DEVICE).contiguous(memory_format=trainer.layout), labels.to(DEVICE)
    return lambda: trainer.step(images, labels)


def measure(steps: dict[str, Step], rounds: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Return the seconds of each step's fastest call after the first; the steps take turns."""
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(1 + rounds):
        for label, step in steps.items():
            start = clock()
            step()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            seconds[label].append(clock() - start)
    return {label: min(times[1:]) for label, times in seconds.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="file that defines network(options, num_classes)")
    add_network_options(parser)
    parser.add_argument("--batch", type=int, default=32, help="images of a training step")
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=4, help="how often each step is measured")
    parser.add_argument("--float32", action="store_true", help="leave bfloat16 out, where the processor has none")
    options = parser.parse_args()
    seconds = measure(build_steps(load_module(options.peer), options), options.rounds)
    print(json.dumps({label: options.batch / fastest for label, fastest in seconds.items()}))


if __name__ == "__main__":
    main()
