"""Measure what each part of the recipe is worth: the recipe, and the recipe with one option changed at a time.

    python -m benchmarks.ablation FOLDER [--seeds 3] [--only "with mixup"] [-- --image-size 64 --epochs 20]

Trains configs/strong.yaml and its variants on FOLDER, and prints the mean and the spread (sample standard deviation)
of the best validation accuracy over the seeds, the mean difference from the recipe with the same seeds, and the mean
of the training seconds. The test images are not used, because the recipe is chosen by this table. All seeds share one
split. What follows `--` is passed to every training. With another optimizer the plan chooses another schedule, batch
size, learning rate and weight decay too; and a variant may be what the plan chooses anyway, such as one image size up
to 64 px. Runs are kept in --runs-dir: the same command resumes an interrupted ablation, and more seeds can be added
later.
"""

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks.trainings import format_spread
from cnn_scratch.train import main as train
from workbench.files import read_json

VARIANTS = {
    "recipe": [],
    "Adam": ["--optimizer=adam"],
    "SGD": ["--optimizer=sgd"],
    "cosine schedule": ["--schedule=cosine"],
    "constant learning rate": ["--schedule=constant", "--warmup-epochs=0"],
    "no weight decay": ["--weight-decay=0"],
    "no label smoothing": ["--label-smoothing=0"],
    "no averaging": ["--ema=0"],
    "no augmentation": ["--data-aug=no"],
    "no colour jitter": ["--jitter=0"],
    "crops instead of shifts": ["--shift=0"],
    "one image size": ["--start-size=0"],
    "512 hidden units": ["--dense-units=512"],
    "fan_in initial weights": ["--initializer=fan_in"],
    "with mixup": ["--mixup=0.2"],
    "with cutmix": ["--cutmix=1"],
    "with erasing": ["--erasing=0.25"],
    "with RandAugment": ["--rand-augment=9"],
}


def train_variant(variant: str, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Return (best validation accuracy, seconds of the epochs) of a variant, from an earlier call where there is one.

    It is trained in this process: trainings that differ by their seeds share a graph.
    """
    path = Path(options.runs_dir) / f"{variant.replace(' ', '-')}-{seed}"
    if not (path / "metrics.json").exists():  # it is written at the end of the training
        code = train(list_options(variant, seed, options, path))
        if code:
            sys.exit(code)
    metrics = read_json(path / "metrics.json")
    return metrics["val_accuracy"], metrics["epoch_seconds"]


def list_options(variant: str, seed: int, options: argparse.Namespace, path: Path) -> list[str]:
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
        *options.training,
        *VARIANTS[variant],
    ]


def format_row(variant: str, scores: list[float], recipe: list[float], seconds: list[float]) -> str:
    """Return a row of the table."""
    gain = 100 * statistics.mean(score - other for score, other in zip(scores, recipe, strict=True))
    mean = f"{statistics.mean(scores):.1%} {format_spread(scores)}"
    return f"| {variant} | {mean} | {gain:+.1f} | {statistics.mean(seconds):.0f} |"


def main() -> None:
    """Run the command line."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of photos")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant")
    parser.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants besides the recipe"
    )
    parser.add_argument("--runs-dir", default="runs/ablation")
    options = parser.parse_args(words[:end])
    options.training = words[end + 1 :]
    measured = {
        variant: [train_variant(variant, seed, options) for seed in range(options.seeds)]
        for variant in dict.fromkeys(["recipe", *options.only])
    }
    recipe = [score for score, _ in measured["recipe"]]
    print("| variant | validation accuracy | difference, points | training seconds |\n|---|---|---|---|")
    for variant, pairs in measured.items():
        scores, seconds = map(list, zip(*pairs, strict=True))
        print(format_row(variant, scores, recipe, seconds))


if __name__ == "__main__":
    main()
