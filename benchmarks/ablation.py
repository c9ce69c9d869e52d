"""What each option of a recipe is worth: the recipe, and the recipe without (or with) one option at a time.

    python -m benchmarks.ablation FOLDER [--seeds 3] [--only recipe "with mixup"] [-- --image-size 64 --epochs 20]

Trains configs/strong.yaml and its variants on FOLDER, evaluates each on the test images, and prints mean and spread
(sample standard deviation) of the test accuracy over the seeds, and the mean of the training seconds. All seeds share
one split. What follows `--` is given to every training. Runs are kept in --runs-dir: the same command again
goes on where it was interrupted, and more seeds can be added.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from workbench.evaluate import earlier_score
from workbench.files import read_json
from workbench.finished_run import open_run

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


def run(variant, seed, arguments):
    """(test accuracy, seconds of the epochs) of one training, of an earlier call's where it is there."""
    name = f"{variant.replace(' ', '-')}-{seed}"
    path = Path(arguments.runs_dir) / name
    command = [sys.executable, "-m", "cnn_scratch.train"]
    if (path / "last.keras").exists():
        command += [f"--resume={path}"]
    else:
        folders = [f"--runs-dir={arguments.runs_dir}", f"--logs-dir={arguments.runs_dir}/logs", f"--name={name}"]
        command += ["--config=configs/strong.yaml", f"--data={arguments.folder}", f"--seed={seed}", "--split-seed=0"]
        command += ["--overwrite", *folders, *VARIANTS[variant], *arguments.training]
    if not (path / "metrics.json").exists():  # written when the training is done
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = open_run(path)
    if earlier_score(found) is None:
        subprocess.run([sys.executable, "-m", "workbench.evaluate", path], check=True, stdout=subprocess.DEVNULL)
    metrics = read_json(path / "metrics.json")
    return metrics["test"]["accuracy"], metrics["epoch_seconds"]


def main():
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--runs-dir", default="runs/ablation")
    arguments = parser.parse_args(words[:end])
    arguments.training = words[end + 1 :]
    print("| variant | test accuracy | spread | training seconds |\n|---|---|---|---|")
    for variant in arguments.only:
        scores, seconds = zip(*(run(variant, seed, arguments) for seed in range(arguments.seeds)), strict=True)
        spread = f"± {100 * statistics.stdev(scores):.1f}" if len(scores) > 1 else "one seed"
        print(f"| {variant} | {statistics.mean(scores):.1%} | {spread} | {statistics.mean(seconds):.0f} |", flush=True)


if __name__ == "__main__":
    main()
