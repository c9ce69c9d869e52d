"""docs/clusters and docs/distributed.md: their commands can be parsed, and Ray accepts the AWS file."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

from cnn_scratch.config import TrainConfig, TuneConfig
from workbench import cli
from workbench.config import parse_duration

ROOT = Path(__file__).parents[1]
CLUSTERS = ROOT / "docs" / "clusters"
GUIDE = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
CONFIGS = {
    ("python", "-m", "cnn_scratch.tune"): TuneConfig,
    ("python", "-m", "cnn_scratch.train"): TrainConfig,
    ("workbench", "tune"): TuneConfig,
}


def split_commands(script):
    """Return the commands of a script as lists of words."""
    lines = script.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def find_own_commands(words):
    """Return (configuration class, its words) where a command, or the end of one, is a command of the project."""
    for place in range(len(words)):
        for beginning, config_class in CONFIGS.items():
            if tuple(words[place : place + len(beginning)]) == beginning:
                return [(config_class, words[place + len(beginning) :])]
        if "workbench tune " in words[place]:  # a command in quotes
            return find_own_commands(shlex.split(words[place].partition("&&")[2]))
    return []


def list_guide_commands():
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    return [found for block in blocks for words in split_commands(block) for found in find_own_commands(words)]


def read_entrypoint():
    (job,) = yaml.safe_load_all((CLUSTERS / "kuberay.yaml").read_text(encoding="utf-8"))
    return find_own_commands(shlex.split(job["spec"]["entrypoint"]))


def test_the_commands_of_the_guide_are_understood(workdir):
    Path("runs/photos").mkdir(parents=True)
    Path("runs/photos/best.yaml").write_text("num_filters: 32\n")
    commands = list_guide_commands()
    assert sum(config_class is TuneConfig for config_class, _ in commands) >= 2
    for config_class, words in [*commands, *read_entrypoint()]:
        config = cli.parse(config_class, words)
        if config_class is TuneConfig:
            assert config.workers.executor == "ray"
    assert set(re.findall(r"clusters/(\w+\.\w+)", GUIDE)) == {path.name for path in CLUSTERS.iterdir()}


def test_the_slurm_script_starts_ray_on_each_node_and_the_sweep_on_the_first():
    (words,) = [words for words in split_commands((CLUSTERS / "slurm.sh").read_text()) if words[0] == "srun"]
    assert words[2:4] == ["ray", "symmetric-run"]
    end = words.index("--")
    to_start = [word for word in curate_and_validate_ray_start_args(words[4:end]) if not word.startswith("$")]
    values = ["16" if word.startswith("$") else word for word in words[4:end]]
    options = start.make_context("start", values[4:]).params
    assert to_start == ["--num-cpus", "--num-gpus"]
    assert (options["num_cpus"], options["num_gpus"]) == (16, 16)
    ((config_class, own),) = find_own_commands(words[end + 1 :])
    config = cli.parse(config_class, own)
    assert (config.workers.executor, config.workers.ray_address) == ("ray", "auto")
    assert parse_duration(config.search.budget) == 11.5 * 3600  # less than the job's time


def test_the_slurm_script_of_a_training_gives_each_task_its_place(tmp_path):
    for name, line in (
        ("scontrol", "echo node1; echo node2"),
        ("srun", 'while [ "$1" != bash ]; do shift; done; for i in 0 7; do SLURM_PROCID=$i "$@"; done'),
        ("python", 'echo "$TF_CONFIG"; echo "$@" >&2'),
    ):
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{line}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NODELIST": "n"}
    command = ["bash", str(CLUSTERS / "slurm_training.sh")]
    done = subprocess.run(
        command, env={**environment, "SLURM_CPUS_PER_TASK": "16"}, capture_output=True, text=True, check=True
    )
    first, last = map(json.loads, done.stdout.splitlines())
    assert first["cluster"]["worker"] == [f"node{node}:{port}" for node in (1, 2) for port in range(12345, 12349)]
    assert (first["task"]["index"], last["task"]["index"]) == (0, 7)
    words = done.stderr.splitlines()[0].split()
    assert cli.parse(TrainConfig, words[2:]).training.strategy == "multi_worker"


def test_the_aws_file_describes_a_cluster_of_spot_instances():
    config = yaml.safe_load((CLUSTERS / "aws.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(config))
    head, spot = (config["available_node_types"][name] for name in ("head", "spot"))
    assert head["resources"] == {"CPU": 0}
    assert spot["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config({**config, "max_worker": 1}))
