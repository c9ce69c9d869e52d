"""Measure what each option of a recipe is worth: the recipe, and the recipe with one option changed at a time.

    python -m benchmarks.ablation FOLDER [--seeds 3] [--only recipe "with mixup"] [-- --image-size 64 --epochs 20]

Trains configs/strong.yaml and its variants on FOLDER, evaluates each on the test images, and prints the mean and the
spread (sample standard deviation) of the test accuracy over the seeds, and the mean of the training seconds. All
seeds share one split. What follows `--` is passed to every training. Runs are kept in --runs-dir: the same command
resumes an interrupted ablation, and more seeds can be added later.
"""

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks.trainings import format_spread, run_module
from workbench.files import read_json

VARIANTS = {
    "recipe": [],
    "no schedule": ["--schedule=constant", "--warmup-epochs=0"],
    "no augmentation": ["--data-aug=no"],
    "with mixup": ["--mixup=0.2"],
    "with cutmix": ["--cutmix=1"],
    "fan_in initial weights": ["--initializer=fan_in"],
    "no averaging": ["--ema=0"],
    "no weight decay": ["--weight-decay=0"],
    "no label smoothing": ["--label-smoothing=0"],
    "batches of 32": ["--batch-size=32"],
    "flatten head": ["--head=flatten", "--start-size=0"],
    "same filters": ["--filter-org=same"],
    "with erasing": ["--erasing=0.25"],
    "one image size": ["--start-size=0"],
    "growing from 32 px": ["--start-size=32"],
}


def train_and_test(variant: str, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Return (test accuracy, seconds of the epochs) of a variant; read them where an earlier call has left them."""
    path = Path(options.runs_dir) / f"{variant.replace(' ', '-')}-{seed}"
    if not (path / "metrics.json").exists():  # it is written at the end of the training
        run_module("cnn_scratch.train", *training_options(variant, seed, options, path))
    if "test" not in read_json(path / "metrics.json"):
        run_module("workbench.evaluate", str(path))
    metrics = read_json(path / "metrics.json")
    return metrics["test"]["accuracy"], metrics["epoch_seconds"]


def training_options(variant: str, seed: int, options: argparse.Namespace, path: Path) -> list[str]:
    """Return the options that start the training of a variant, or resume it."""
    if (path / "last.keras").exists():
        return [f"--resume={path}"]
    return [
        "--config=configs/strong.yaml",
        f"--data={options.folder}",
        f"--seed={seed}",
        "--split-seed=0",
        f"--name={path.name}",
        f"--runs-dir={options.runs_dir}",
        f"--logs-dir={options.runs_dir}/logs",
        "--overwrite",
        *VARIANTS[variant],
        *options.training,
    ]


def main() -> None:
    """Run the command line."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of photos")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="the variants to train")
    parser.add_argument("--runs-dir", default="runs/ablation")
    options = parser.parse_args(words[:end])
    options.training = words[end + 1 :]
    print("| variant | test accuracy | spread | training seconds |\n|---|---|---|---|")
    for variant in options.only:
        measured = [train_and_test(variant, seed, options) for seed in range(options.seeds)]
        scores, seconds = zip(*measured, strict=True)
        print(
            f"| {variant} | {statistics.mean(scores):.1%} | {format_spread(scores)} | {statistics.mean(seconds):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
