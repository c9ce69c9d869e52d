"""The Dockerfile: nothing that it copies is missing, and its entry point is installed. It is not built here."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read_stages():
    """Return stage -> (base, its instructions as pairs of a keyword and what follows)."""
    lines = [line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    text = "\n".join(lines).replace("\\\n", " ")
    stages = {}
    for line in filter(None, text.splitlines()):
        keyword, _, rest = line.partition(" ")
        if keyword == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            instructions = []
            stages[name] = (base, instructions)
        elif stages:
            instructions.append((keyword, rest))
    return stages


STAGES = read_stages()


def list_copied(stage):
    """Return the paths that a stage copies out of the project."""
    copied = [shlex.split(rest) for keyword, rest in STAGES[stage][1] if keyword == "COPY"]
    return {path for words in copied if not words[0].startswith("--from") for path in words[:-1]}


def list_inherited(stage):
    """Return the instructions of a stage and of the stages that it is built on, the first ones first."""
    base, instructions = STAGES[stage]
    return [*(list_inherited(base) if base in STAGES else []), *instructions]


def test_what_is_copied_exists_and_is_all_that_docker_is_given():
    copied = set.union(*map(list_copied, STAGES))
    assert all((ROOT / path).exists() for path in copied)
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    for stage in STAGES:
        for _, rest in STAGES[stage][1]:
            assert all(name in STAGES for name in re.findall(r"--from=(\S+)", rest))


def test_the_wheel_can_be_built_from_what_is_copied():
    project, build = PROJECT["project"], PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {project["readme"], *project["license-files"], *build["only-include"], "pyproject.toml"}
    needed |= set(PROJECT["tool"]["hatch"]["metadata"]["hooks"]["requirements_txt"]["files"])
    assert needed <= list_copied("wheel")


@pytest.mark.parametrize("target", ["cpu", "gpu", "blackwell"])
def test_an_image_runs_the_command_without_privileges(target):
    settings = dict(list_inherited(target))  # the last one of a keyword counts
    assert settings["USER"] == "1000"
    (command,) = json.loads(settings["ENTRYPOINT"])
    assert command in PROJECT["project"]["scripts"]
    assert settings["WORKDIR"] == "/work"


def test_extras_and_requirements_that_are_changed_exist():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    extras = re.findall(r"\.whl\)\[([\w,]+)\]", text)
    assert set(",".join(extras).split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    names = [re.split(r"[<>=]", line)[0] for line in (ROOT / "requirements.txt").read_text().splitlines()]
    assert {"tensorflow", "tensorboard", "numpy"} <= set(names)


def test_the_cluster_of_kubernetes_uses_an_image_of_the_dockerfile():
    documents = list(yaml.safe_load_all((ROOT / "docs" / "clusters" / "kuberay.yaml").read_text(encoding="utf-8")))
    clusters = [document["spec"]["rayClusterSpec"] for document in documents if document["kind"] == "RayJob"]
    groups = [group for cluster in clusters for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    pods = [group["template"]["spec"] for group in groups]
    images = [container["image"] for pod in pods for container in pod["containers"]]
    assert images
    assert {image.rpartition(":")[2] for image in images} <= set(STAGES)
    assert any("volumes" in pod for pod in pods)
    assert all(pod["securityContext"] == {"fsGroup": 1000} for pod in pods if "volumes" in pod)
