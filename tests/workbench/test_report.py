import dataclasses
import functools
import html
import itertools
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.workbench.synthetic import CELLS, POINTS, REASON, write_outcomes, write_run, write_sweep
from workbench import cli
from workbench.commands import ReportConfig
from workbench.data.config import InspectConfig
from workbench.data.inspecting.inspection import inspect
from workbench.evaluation.comparison import CurvePoint, name_runs
from workbench.report import report
from workbench.reporting.charts import read_script
from workbench.reporting.comparison_page import draw_comparison, write_page
from workbench.reporting.figure_metadata import read_parts
from workbench.reporting.figures import open_figure, save_figure
from workbench.reporting.page import Page, Section, load_pictures
from workbench.reporting.run_report import leave_report, write_report
from workbench.sweep.analysis.repeated_trial import RepeatedTrial
from workbench.sweep.analysis.sweep_analysis import analyse_sweep
from workbench.sweep.results import read_results
from workbench.table import Column, Table

EVIL = "<script>alert('x')</script>"
PHONE = 390  # pixels wide
PATIENCE = 120_000  # milliseconds: other tests may use all cores


@pytest.fixture
def make_sweep(tmp_path):
    return functools.partial(write_sweep, tmp_path)


@pytest.fixture
def make_run(tmp_path):
    return functools.partial(write_run, tmp_path)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, page) of a finished sweep of 60 trials with outcomes; it was continued later, and a trial repeated.

    Some trials have failed, and some were pruned.
    """
    folder = write_sweep(tmp_path_factory.mktemp("searched"), 60, failed=0.1, pruned=0.1)
    write_outcomes(folder)
    finish(folder, trials=57)
    repeated = RepeatedTrial("0007", "val_accuracy", 0.91, [1, 2], [0.88, 0.9], 0.89, 0.0141)
    (folder / "repeats.json").write_text(json.dumps([dataclasses.asdict(repeated)]))
    return folder, page_of(folder)


@pytest.fixture(scope="module")
def comparison_page(tmp_path_factory):
    """The page of a comparison of runs with very long names."""
    return make_comparison(tmp_path_factory.mktemp("compared") / "comparison")


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
    return cli.main(cli.Command(ReportConfig, report), [str(folder)])


def page_of(folder):
    return write_report(folder).read_text(encoding="utf-8")


def finish(folder, **metrics):
    """Add the files of a finished sweep."""
    (folder / "best.yaml").write_text("epochs: 5\n")
    (folder / "model.keras").write_bytes(b"the model")
    (folder / "metrics.json").write_text(json.dumps({"train_module": "some.trainer", "trials": 40, **metrics}))


def test_the_page_of_a_sweep(searched):
    folder, page = searched
    outline = Outline(page)
    assert f"python -m some.trainer --config {folder}/best.yaml" in outline.commands
    assert f"python -m workbench.evaluate {folder}" in outline.commands
    images = [attributes for _, attributes in outline.all("img") if attributes["alt"]]
    assert len(images) == len(outline.all("figure")) == 5
    assert all(len(image["alt"]) > 40 and image["src"].startswith("data:image/") for image in images)
    assert html.escape(REASON) in page
    assert "The sweep is not finished" not in page
    assert "3 trials are newer than the saved model" in page
    assert page.count(read_script()) == 1  # the charts can be brushed without a network
    assert page.count('<div class="plot">') == 4
    assert "'unsafe-eval'" in page


def test_the_page_of_a_sweep_with_outcomes_says_what_to_expect_on_new_images(searched):
    folder, page = searched
    assert (
        "Trial 0007: 91.0% in the sweep; with 2 further seeds 89.0% on average, standard deviation 1.4 points" in page
    )
    analysis = analyse_sweep(folder, read_results(folder))
    best, count = analysis.honest_winner.best, len(read_results(folder).scored)
    assert f"{best:.1%} is the best of {count} trials; on 50 new images expect" in page
    assert f"{analysis.honest_winner.low:.1%} to {analysis.honest_winner.high:.1%}" in page
    assert f"{len(analysis.equal)} trials not distinguishable from the winner" in page
    assert f"python -m workbench.export {folder} --ensemble" in Outline(page).commands


def report_elsewhere(folder, output):
    """Write a report to another folder, check that this changes nothing else, and return the page."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    path = report(ReportConfig(str(folder), out=str(output)))
    assert path == output / "report.html"
    page = path.read_text()
    assert f"--out {output}" in page
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return page


def test_the_page_of_a_sweep_that_runs(make_sweep, tmp_path):
    page = report_elsewhere(make_sweep(3), tmp_path / "out")
    assert "The sweep is not finished" in page
    assert "Best so far" in page
    assert "On new images" not in page  # a sweep of an earlier version kept no outcomes
    assert "No trial has finished yet" in page_of(make_sweep(0))
    assert "All trials have failed" in page_of(make_sweep(2, failed=1.0))


@pytest.mark.parametrize("kind", ["sweep", "run"])
def test_a_page_is_self_contained_and_accessible(searched, make_run, kind):
    outline = Outline(searched[1] if kind == "sweep" else page_of(make_run()))
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


@pytest.mark.parametrize("metrics", [{"test": None}, {"epochs": 2, "images_per_second": 400.0}])
def test_a_training_with_metrics_of_less_than_its_epochs_is_not_finished(make_run, metrics):
    """They are only those of a test, or of the training before it was continued."""
    folder = make_run(epochs=3)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert "3 of 4 epochs are done" in page_of(folder)


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
    alts = [attributes["alt"] for _, attributes in outline.all("img") if attributes["alt"]]
    assert alts[1:] == [f"{EVIL} is taken for daisy. A caption.", "Filters. A caption.", "plain", "Last. A caption."]
    assert not any("workbench.evaluate" in line or "workbench.explain" in line for line in outline.commands)
    test["model_sha256"] = "of another model"
    (folder / "metrics.json").write_text(json.dumps({**metrics, "test": test}))
    page = page_of(folder)
    assert "The model has changed since it was tested" in page
    assert "of an earlier model; 95 % interval 64.0% to 95.0%" in page
    assert "this is the test of an earlier one" in page


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


def test_the_command_neither_imports_tensorflow_nor_prints_its_messages(make_run):
    folder = make_run()
    code = "import sys; from workbench.report import ReportConfig, report; report(ReportConfig(sys.argv[1])); "
    code += "print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    assert ran.stdout.splitlines()[-1] == "False"
    assert len(ran.stdout.splitlines()) == 2


@pytest.fixture
def browse(chromium, tmp_path):
    """A function that shows a page in a window of a phone's size, and returns the value of `script`, an expression.

    A message on the browser's console, such as a script's error, fails the test.
    """
    window, messages = chromium.new_page(viewport={"width": PHONE, "height": 800}), []
    window.set_default_timeout(PATIENCE)
    window.on("console", lambda message: messages.append(message.text))
    window.on("pageerror", lambda error: messages.append(str(error)))

    def show(page, script):
        (tmp_path / "page.html").write_text(page)
        window.goto((tmp_path / "page.html").as_uri())
        return window.evaluate(script)

    yield show
    window.close()
    assert messages == []


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
  box.querySelector("[data-step='1']")?.click();
  return [given, up, down, sorted, read(), box.querySelector(".range")?.textContent];
}})("{name}")"""


def test_columns_are_sorted_as_numbers_and_pages_turn(browse, searched):
    given, up, down, sorted_, next_page, where = browse(searched[1], COLUMN.format(name="parameters"))
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


@pytest.mark.parametrize("cells", CELLS)
def test_cells_are_sorted_by_the_numbers_that_they_begin_with(browse, cells):
    """And those without a number come last in both directions."""
    given = [*cells[::2], "?", *cells[1::2], "none left (-2)", ""]
    table = Table("Each trial", [Column("trial", False), Column("value")], [["one", cell] for cell in given])
    page = Page("title", "lead", [], [Section("trials", "Trials", tables=[table])], "the command").render()
    shown, up, down, *_ = browse(page, COLUMN.format(name="value"))
    assert shown == given
    assert up == [*cells, "?", "none left (-2)", ""]
    assert down == [*cells[::-1], "?", "none left (-2)", ""]


def make_comparison(folder):
    """A comparison of runs, one of them with a very long name, whose trainings took very different times."""
    folder.mkdir()
    runs = [folder / "one" / "runs" / "cnn", folder / "two" / "runs" / "cnn", folder / ("r" * 200)]
    rows = [
        {
            "run": str(run),
            "name": name,
            "images": 240,
            "accuracy": 0.7,
            "low": 0.6,
            "high": 0.8,
            "leaked": 26,
            "accuracy_without_leaked": 0.68,
            "top_k": 3,
            "top_k_accuracy": 0.9,
            "loss": 0.5,
            "ece": 0.1,
            "parameters": 110_572,
            "megabytes": 0.5,
            "epochs": 2,
            "training_seconds": 9.0,
            "images_per_second": 400.0,
            "difference": 0.0,
            "only_first": 1,
            "only_this": 1,
            "p": 1.0,
            "p_adjusted": 1.0,
        }
        for run, name in zip(runs, name_runs(runs), strict=True)
    ]
    curves = [[CurvePoint(scale, 0.5), CurvePoint(2 * scale, 0.6)] for scale in (1.0, 3.0, 500.0)]
    draw_comparison(folder / "comparison.png", rows, curves)
    return write_page(folder, rows, "python -m workbench.compare " + " ".join(map(str, runs))).read_text()


def make_inspection(folder):
    """The page of an inspection of photos, most of which are there twice, of which one is no image."""
    for name, part in itertools.product(("daisy", "r" * 200), ("train", "test")):
        (folder / "photos" / part / name).mkdir(parents=True)
        for number in range(3):
            image = Image.effect_mandelbrot((80, 60), (-3 + number, -2.5, 2, 2.5), 20)
            image.save(folder / "photos" / part / name / f"{'n' * 100}-{number}.png")
    (folder / "photos" / "train" / "daisy" / "notes.txt").write_text("not an image")
    inspect(InspectConfig(data=str(folder / "photos"), page=str(folder / "page.html")))
    return (folder / "page.html").read_text()


def test_a_phone_never_scrolls_a_page_sideways(browse, searched, make_run, comparison_page, tmp_path):
    pages = [searched[1], page_of(make_run(classes=("a" * 120, "b"))), comparison_page, make_inspection(tmp_path)]
    script = """(() => {
      for (const details of document.querySelectorAll("details")) details.open = true;
      const right = [...document.images].map((image) => image.getBoundingClientRect().right);
      return [innerWidth, document.documentElement.scrollWidth, Math.max(...right)];
    })()"""
    for page in pages:
        width, scrolled, right = browse(page, script)
        assert width == PHONE
        assert scrolled <= PHONE
        assert right <= PHONE  # no figure or photo is cut off


def test_a_phone_shows_figures_as_wide_as_it_is_and_in_full_size(browse, searched):
    script = """(() => {
      const [progress, , , effects] = document.querySelectorAll("figure");
      const [image, button] = [progress.querySelector("img"), progress.querySelector(".zoom")];
      const small = image.clientWidth;
      button.click();
      const parts = [...effects.querySelectorAll("img")].map((part) => part.clientWidth / part.naturalWidth);
      return [small, image.clientWidth, image.naturalWidth, document.documentElement.scrollWidth, button.hidden, parts];
    })()"""
    small, full, natural, scrolled, hidden, parts = browse(searched[1], script)
    assert small <= PHONE
    assert full == natural > 700
    assert scrolled <= PHONE
    assert not hidden
    assert len(parts) > 2
    assert min(parts) > 0.6  # the letters of the panels stay readable


def test_a_table_shows_numbers_next_to_long_names_on_a_phone(browse, comparison_page):
    name, accuracy = browse(
        comparison_page,
        "[...document.querySelectorAll('tbody tr:last-child > *')].slice(0, 2)"
        ".map((cell) => cell.getBoundingClientRect().right)",
    )
    assert name < accuracy < PHONE


def test_each_title_is_on_the_page_once(tmp_path):
    """The title is drawn in the file, but the page shows it as a heading above the picture without it."""
    path = tmp_path / "figure.png"
    with open_figure(4, 2, ncols=2) as (figure, panels):
        save_figure(figure, path, "A title " * 20, "A caption.", [[[axes] for axes in panels]])
    (picture,) = load_pictures([path])
    assert picture.title == "A title " * 20
    assert not picture.shows_title
    with Image.open(path) as image:
        left, right = read_parts(path)
        assert left[1] == right[1] > 50  # several lines
        title = image.convert("L").crop((0, 0, image.width, left[1]))
        assert min(title.getdata()) < 50
        assert min(image.convert("L").crop((0, left[1] - 4, image.width, left[1])).getdata()) == 255
    assert [part.height for part in picture.parts] == [left[3] - left[1], right[3] - right[1]]
    assert abs(left[2] - right[0]) < 40


def test_a_figure_of_an_earlier_version_keeps_its_drawn_title(make_run):
    folder = make_run()
    (folder / "figures").mkdir()
    words = PngInfo()
    words.add_text("Title", "Drawn")
    Image.new("RGB", (80, 80)).save(folder / "figures" / "old.png", pnginfo=words)
    assert '<figure class="titled">\n      <h3>Drawn</h3>' in page_of(folder)


def test_the_whole_grid_stays_light(browse, make_sweep):
    page = page_of(make_sweep(POINTS, failed=0.02, pruned=0.1))
    assert len(page) - len(read_script()) < 3.5e6
    assert page.count("<figure") == 5
    rows, range_ = browse(
        page,
        "[document.querySelectorAll('tr').length, document.querySelector('.range').textContent]",
    )
    assert rows < 100
    assert range_ == "1–25 of 9,216"  # noqa: RUF001


def test_a_report_of_a_run_can_be_written_to_another_folder(make_run, tmp_path):
    assert "filter_size" in report_elsewhere(make_run(), tmp_path / "out")
