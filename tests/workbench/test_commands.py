"""What commands print and refuse before they import anything heavy."""

import pytest

from tests.fresh_calls import call_fresh

HELP = {  # command -> words of its help, in this order
    "cnn_scratch.train": ["Data:", "--image-size", "Run:"],
    "cnn_scratch.tune": ["Data:", "--image-size", "Run:"],
    "transfer.run": ["Data:", "Backbone:", "--from", "Freezing:", "Run:"],
    "transfer.compare": ["Data:", "Backbone:", "--scratch", "Run:"],
    "transfer.tune": ["Data:", "Search:", "Run:"],
    "workbench.explain": ["usage: python -m workbench.explain RUN [IMAGE ...]", "--layer"],
    "workbench.evaluate": ["usage: python -m workbench.evaluate RUN"],
    "workbench.predict": ["usage: python -m workbench.predict RUN IMAGE ...", "--top-k"],
    "workbench.export": ["usage: python -m workbench.export RUN", "--format", "tflite"],
    "workbench.compare": ["usage: python -m workbench.compare RUN ...", "--output"],
    "workbench.report": ["usage: python -m workbench.report RUN", "Report:"],
}
OF_A_MISSING_RUN = {"evaluate": (), "explain": (), "predict": ("photo.png",), "export": ()}  # command -> further words


@pytest.fixture(scope="module")
def calls():
    """What commands have done, by the command and its first word."""
    commands = [(module, "--help") for module in HELP]
    commands += [(f"workbench.{name}", "runs/missing", *words) for name, words in OF_A_MISSING_RUN.items()]
    return {words[:2]: call for words, call in zip(commands, call_fresh(commands), strict=True)}


@pytest.mark.parametrize("module", HELP)
def test_help_does_not_import_heavy_libraries(calls, module):
    call = calls[module, "--help"]
    assert (call.code, call.imported, call.errors) == (0, [], "")
    places = [call.output.index(words) for words in HELP[module]]
    assert places == sorted(places)
    options = [line.split()[0] for line in call.output.splitlines() if line.strip().startswith("--")]
    assert options
    assert "_" not in "".join(options)


@pytest.mark.parametrize("name", OF_A_MISSING_RUN)
def test_a_missing_run_is_refused_before_tensorflow_is_imported(calls, name):
    call = calls[f"workbench.{name}", "runs/missing"]
    assert (call.code, call.imported, call.output) == (2, [], "")
    assert call.errors == "error: runs/missing: no such run folder\n"


def test_a_report_without_figures_imports_no_heavy_library(tiny_run):
    history = tiny_run / "history.csv"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:2]))  # one epoch has no learning curve
    (call,) = call_fresh([("workbench.report", str(tiny_run))])
    assert (call.code, call.imported) == (0, [])
    assert "report.html" in call.output
