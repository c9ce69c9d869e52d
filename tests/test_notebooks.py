"""The notebooks as they are committed. `.ci/run` executes them."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_and_imports_what_the_packages_offer(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
    nodes = [node for cell in code for node in ast.walk(ast.parse("".join(cell["source"])))]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module in ("cnn_scratch", "transfer", "workbench"):
            offered = __import__(node.module).__all__
            assert {name.name for name in node.names} <= set(offered)
