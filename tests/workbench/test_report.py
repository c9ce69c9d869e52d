import functools
import html
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image

from tests.workbench.synthetic import POINTS, REASON, write_run, write_sweep
from workbench import cli
from workbench.commands import ReportConfig
from workbench.report import report
from workbench.reporting.figures import open_figure, save_figure
from workbench.reporting.run_report import leave_report, write_report

EVIL = "<script>alert('x')</script>"
PHONE = 390  # pixels wide


@pytest.fixture
def make_sweep(tmp_path):
    return functools.partial(write_sweep, tmp_path)


@pytest.fixture
def make_run(tmp_path):
    return functools.partial(write_run, tmp_path)


class Outline(HTMLParser):
    """The elements of a page with their attributes, and the text of each code element."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.commands, self._in_code = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in_code = tag == "code"

    def handle_data(self, data):
        if self._in_code:
            self.commands.append(data)
        self._in_code = False

    def all(self, *tags):
        return [(tag, attributes) for tag, attributes in self.elements if tag in tags]


def run_command(folder):
    """Run the command line, and return its exit code."""
    return cli.main(ReportConfig, report, description=None, argv=[str(folder)])


def page_of(folder):
    return write_report(folder).read_text(encoding="utf-8")


def finish(folder, **metrics):
    """Add the files of a finished sweep."""
    (folder / "best.yaml").write_text("epochs: 5\n")
    (folder / "model.keras").write_bytes(b"the model")
    (folder / "metrics.json").write_text(json.dumps({"train_module": "some.trainer", "trials": 40, **metrics}))


def test_the_page_of_a_sweep(make_sweep):
    folder = make_sweep(40, failed=0.1, pruned=0.1)
    finish(folder)
    page = page_of(folder)
    outline = Outline(page)
    assert f"python -m some.trainer --config {folder}/best.yaml" in outline.commands
    assert f"python -m workbench.evaluate {folder}" in outline.commands
    images = [attributes for _, attributes in outline.all("img")]
    assert len(images) == 5
    assert all(len(image["alt"]) > 40 and image["src"].startswith("data:image/") for image in images)
    assert html.escape(REASON) in page
    assert "The sweep is not finished" not in page


def test_the_page_of_a_sweep_that_runs(make_sweep):
    page = page_of(make_sweep(3))
    assert "The sweep is not finished" in page
    assert "Best so far" in page
    assert "No trial has finished yet" in page_of(make_sweep(0))
    assert "All trials have failed" in page_of(make_sweep(2, failed=1.0))


def test_a_notice_counts_the_trials_newer_than_the_winner(make_sweep):
    folder = make_sweep(43)
    finish(folder)
    assert "3 trials are newer than the saved model" in page_of(folder)


@pytest.mark.parametrize("kind", ["sweep", "run"])
def test_a_page_is_self_contained_and_accessible(make_sweep, make_run, kind):
    outline = Outline(page_of(make_sweep(30, failed=0.2) if kind == "sweep" else make_run()))
    for _, attributes in outline.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    levels = [int(tag[1]) for tag, _ in outline.all("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in attributes for _, attributes in outline.all("th"))
    assert outline.all("html")[0][1]["lang"] == "en"
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    links = [attributes["href"][1:] for _, attributes in outline.all("a")]
    assert links == ids


def test_the_page_of_a_run(make_run):
    folder = make_run()
    page = page_of(folder)
    outline = Outline(page)
    assert "80.0%" in page
    assert "epoch 4 of 4" in page
    assert "12,345" in page
    assert "<dt>filter_size</dt><dd>3</dd>" in page
    assert outline.all("img")[0][1]["alt"].startswith("Best in epoch 4 of 4: 80.0% validation accuracy")
    assert f"python -m workbench.evaluate {folder}" in outline.commands
    assert f"python -m workbench.explain {folder}" in outline.commands
    assert f"python -m some.trainer --config {folder}/config.yaml --name cnn-again" in outline.commands


def test_a_training_under_way_and_one_epoch(make_run):
    page = page_of(make_run(epochs=1, finished=False))
    assert "1 of 4 epochs is done" in page
    assert "<img" not in page


def test_test_results_and_figures_are_shown(make_run):
    folder = make_run(classes=("daisy", EVIL))
    test = {
        "images": 20,
        "accuracy": 0.85,
        "accuracy_interval": [0.64, 0.95],
        "top_k": 2,
        "top_k_accuracy": 1.0,
        "ece": 0.04,
        "per_class": [
            {"class": name, "images": 10, "precision": 0.8, "recall": 0.9, "f1": 0.847} for name in ("daisy", EVIL)
        ],
        "confused": [{"true": EVIL, "predicted": "daisy", "count": 3}],
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "test": test}))
    (folder / "figures").mkdir()
    for name, title in (("confusion_matrix", f"{EVIL} is taken for daisy"), ("filters", "Filters"), ("zz", "Last")):
        with open_figure() as (figure, _):
            save_figure(figure, folder / "figures" / f"{name}.png", title, "A caption.")
    Image.new("RGB", (8, 8)).save(folder / "figures" / "plain.png")
    (folder / "figures" / "torn.png").write_bytes(b"\x89PNG\r\n")
    page = page_of(folder)
    outline = Outline(page)
    assert "alert" in page
    assert EVIL not in page
    assert "95 % interval 64.0% to 95.0%" in page
    alts = [attributes["alt"] for _, attributes in outline.all("img")]
    assert alts[1:] == [f"{EVIL} is taken for daisy. A caption.", "Filters. A caption.", "plain", "Last. A caption."]
    assert not any("workbench.evaluate" in line or "workbench.explain" in line for line in outline.commands)
    test["model_sha256"] = "of another model"
    (folder / "metrics.json").write_text(json.dumps({**metrics, "test": test}))
    assert "The model has changed since it was tested" in page_of(folder)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: shutil.rmtree(folder), "no such run folder"),
        (lambda folder: (folder / "config.yaml").unlink(), "not a run folder"),
        (lambda folder: (folder / "classes.json").write_text("["), "classes.json"),
    ],
)
def test_a_folder_that_is_not_a_run_is_one_line(make_run, capsys, break_it, says):
    folder = make_run()
    break_it(folder)
    assert run_command(folder) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


def test_the_page_is_made_without_incomplete_files(make_run):
    folder = make_run()
    (folder / "metrics.json").write_text("{")
    for text in ("epoch,loss\n1", "epoch,loss\n1,0.5\n"):
        (folder / "history.csv").write_text(text)
        assert "filter_size" in page_of(folder)


def test_an_error_in_the_report_is_returned(make_run):
    folder = make_run()
    (folder / "figures").write_text("in the way")
    said = leave_report(folder)
    assert said.startswith("none (FileExistsError")
    assert f"python -m workbench.report {folder}" in said


def test_the_command_says_where_the_page_is(make_run, capsys):
    folder = make_run()
    assert run_command(folder) == 0
    assert f"report: {folder}/report.html" in capsys.readouterr().out


def browse(chromium, tmp_path, page, script):
    """Show the page in a Chromium of a phone's size and return the value of `script`, an expression.

    A message on the browser's console, such as a script's error, fails the test. The page is in a frame, since a
    window cannot be that narrow.
    """
    (tmp_path / "page.html").write_text(
        page.replace("</body>", f"<script>onload=()=>parent.postMessage(JSON.stringify({script}),'*')</script></body>")
    )
    (tmp_path / "frame.html").write_text(
        f"<iframe src=page.html width={PHONE} height=800 style=border:0></iframe><p id=answer></p>"
        "<script>onmessage=(event)=>answer.textContent=event.data</script>"
    )
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    flags += f" --disable-component-update --user-data-dir={tmp_path / 'profile'} --enable-logging=stderr --dump-dom"
    command = [chromium, *flags.split(), (tmp_path / "frame.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert ":CONSOLE" not in shown.stderr, shown.stderr
    answer = re.search(r'<p id="answer">(.*?)</p>', shown.stdout)
    assert answer, shown.stdout
    return json.loads(html.unescape(answer[1]))


COLUMN = """((name) => {{
  const box = document.querySelector("#trials .data-table");
  const heads = [...box.querySelectorAll("thead th")];
  const at = heads.findIndex((head) => head.textContent === name);
  const read = () => [...box.querySelectorAll("tbody tr")].map((row) => row.cells[at].textContent);
  const given = read();
  heads[at].querySelector("button").click();
  const up = read();
  heads[at].querySelector("button").click();
  const sorted = heads[at].getAttribute("aria-sort");
  const down = read();
  box.querySelector("[data-step='1']").click();
  return [given, up, down, sorted, read(), box.querySelector(".range").textContent];
}})("{name}")"""


def test_columns_are_sorted_as_numbers_and_pages_turn(chromium, make_sweep, tmp_path):
    page = page_of(make_sweep(60, failed=0.1))
    given, up, down, sorted_, next_page, where = browse(chromium, tmp_path, page, COLUMN.format(name="parameters"))
    assert len(given) == 25

    def numbers(texts):
        return [int(text.replace(",", "")) for text in texts if text]

    assert numbers(up) == sorted(numbers(up))
    assert numbers(up)[0] == 64_000
    assert numbers(down) == sorted(numbers(down), reverse=True)
    assert numbers(down)[0] == 192_000
    assert sorted_ == "descending"
    assert where == "26–50 of 60"  # noqa: RUF001
    assert max(numbers(next_page)) <= min(numbers(down))


@pytest.mark.parametrize("kind", ["sweep", "run"])
def test_a_phone_never_scrolls_the_page_sideways(chromium, make_sweep, make_run, tmp_path, kind):
    page = page_of(make_sweep(12, failed=0.3) if kind == "sweep" else make_run(classes=("a" * 120, "b")))
    script = "[innerWidth, document.documentElement.scrollWidth, document.images[0].naturalWidth]"
    width, scrolled, image = browse(chromium, tmp_path, page, script)
    assert width == PHONE
    assert scrolled <= PHONE
    assert image > 500


def test_the_whole_grid_stays_light(chromium, make_sweep, tmp_path):
    page = page_of(make_sweep(POINTS, failed=0.02, pruned=0.1))
    assert len(page) < 2.5e6
    assert page.count("<img") == 5
    rows, range_ = browse(
        chromium,
        tmp_path,
        page,
        "[document.querySelectorAll('tr').length, document.querySelector('.range').textContent]",
    )
    assert rows < 100
    assert range_ == "1–25 of 9,216"  # noqa: RUF001


@pytest.mark.parametrize("is_sweep", [False, True])
def test_a_report_can_be_written_to_another_folder(make_run, make_sweep, is_sweep, tmp_path):
    folder = make_sweep(6) if is_sweep else make_run()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    path = report(ReportConfig(str(folder), out=str(tmp_path / "out")))
    assert path == tmp_path / "out" / "report.html"
    assert f"--out {tmp_path / 'out'}" in path.read_text()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
