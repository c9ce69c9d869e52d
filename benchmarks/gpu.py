"""Measure on a machine with a GPU what benchmarks/README.md gives for processors.

    python -m benchmarks.gpu [FOLDER] [--python PYTHON] [--quick]

Runs, one after the other and each in a process of its own: train_step (a training step of part one), epochs (whole
epochs at 64 and 128 px, with and without augmentation, which the GPU computes), finetune_step (a fine-tuning step) and
sweep_speed (a sweep against plain KerasTuner). FOLDER is a folder of photos; without it the epochs are left out. Begins
with the GPU, its memory, the driver and the versions. It also runs on a machine without a GPU, and says so. `--quick`
measures the smallest case of each only.
"""

import argparse
import importlib.metadata
import subprocess
import sys

from workbench.devices.device import describe_device
from workbench.runtime import load_tensorflow


def describe_machine() -> list[str]:
    """Return lines about the device, the memory of its GPUs, and the versions of what computes on it."""
    tf = load_tensorflow()
    build = tf.sysconfig.get_build_info()
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
    versions |= {name: build[f"{name}_version"] for name in ("cuda", "cudnn") if f"{name}_version" in build}
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    lines = [f"device: {describe_device()}", ", ".join(f"{name} {version}" for name, version in versions.items())]
    if not gpus:
        lines.append("TensorFlow finds no GPU here: these are the numbers of the processor")
    names = (f"{gpu.get('device_name', 'GPU')}, compute capability {gpu.get('compute_capability')}" for gpu in gpus)
    return [*lines, *names]


def list_commands(folder: str | None, python: str, quick: bool) -> list[list[str]]:
    """Return the benchmarks to run, each as module and options."""
    peer = [f"--python={python}"]
    commands = [["train_step", *(["small"] if quick else []), *peer]]
    if folder:
        commands += [["epochs", folder, f"--size={size}", *peer] for size in ((64,) if quick else (64, 128))]
    commands.append(["finetune_step", *(["143"] if quick else []), *peer])
    commands.append(["sweep_speed", f"--plain-trials={8 if quick else 96}"])
    return commands


def main() -> int:
    """Run the command line and return 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="folder of photos with train/<class>/")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--quick", action="store_true", help="the smallest case of each")
    options = parser.parse_args()
    print("\n".join(describe_machine()), flush=True)
    failed = []
    for module, *words in list_commands(options.folder, options.python, options.quick):
        print(f"\n## python -m benchmarks.{' '.join([module, *words])}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *words]).returncode:
            failed.append(module)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
