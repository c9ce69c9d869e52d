"""The pages in a real browser."""

import contextlib
import html
import json
import re
import shlex
import shutil
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests import processes
from tests.workbench.app.conftest import EVIL
from workbench.app.images.uploads import KEPT
from workbench.app.models import ModelShelf
from workbench.config import DataConfig, RunConfig
from workbench.data.dataset import load_dataset
from workbench.files import append_csv, read_csv
from workbench.finished_run import open_run
from workbench.reporting.sweep_statistics import build_expected_tile, build_statistics_section
from workbench.reporting.test_section import build_evaluation_sections, build_test_section
from workbench.sweep.analysis.sweep_analysis import analyse_sweep
from workbench.sweep.results import read_results
from workbench.sweep.status import read_status
from workbench.training.run_folder import RunFolder

axe = pytest.importorskip("axe_playwright_python.sync_playwright")


def find_violations(page):
    """Return the accessibility rules that a page breaks seriously, each with the first element that does."""
    found = axe.Axe().run(page).response["violations"]
    return [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found if rule["impact"] in ("serious", "critical")]


def check_accessible(page, heading):
    """Check that a page with this heading is accessible."""
    page.get_by_role("heading", level=1, name=heading).wait_for()
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert find_violations(page) == []


def check_fit(page):
    """Check that a page fits a phone and a desktop."""
    for width in (400, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_of_data_leads_to_the_labels(page):
    page.goto("/data")
    page.get_by_role("heading", name="A contact sheet").wait_for()
    check_accessible(page, "Look through the photos")
    assert page.get_by_role("link", name="tiny").get_attribute("href") == "/labels/tiny"
    check_fit(page)


def test_the_table_of_runs_is_sorted_filtered_and_compared_by_keyboard(page):
    page.goto("/")
    names = page.locator("tbody th")
    page.get_by_role("link", name="damaged").wait_for()
    check_accessible(page, "Runs and sweeps")
    check_fit(page)
    assert names.count() == 5
    row = page.locator("tbody tr", has=page.get_by_role("link", name="damaged"))
    assert "metrics.json is damaged" in row.text_content()
    page.get_by_role("button", name="name").press("Enter")
    page.locator("th[aria-sort=ascending]").wait_for()
    assert names.all_text_contents() == sorted([EVIL, "damaged", "search", "tiny", "twin"])
    for name in ("tiny", "twin"):
        page.get_by_role("checkbox", name=f"Select {name}").press("Space")
    page.get_by_text("2 runs ticked").wait_for()
    page.get_by_role("button", name="Compare").press("Enter")
    page.wait_for_url("**/compare?*")
    page.get_by_text("twin: no significant difference from tiny").wait_for()
    chart = page.locator("#chart-accuracy .plot")
    chart.locator(".main-svg").first.wait_for()
    assert chart.bounding_box()["height"] < 200  # two rows need no more
    check_accessible(page, "Runs side by side")
    check_fit(page)


def test_runs_whose_names_are_numbers_or_dates_are_in_the_chart(page, shown_runs):
    for names in (["1", "2"], ["2026-11-27", "2026-11-28"]):
        try:
            for name in names:
                shutil.copytree(shown_runs / "tiny", shown_runs / name)
            page.goto(f"/compare?run={names[0]}&run={names[1]}")
            page.locator("#chart-accuracy .ytick").first.wait_for()
            assert sorted(page.locator("#chart-accuracy .ytick").all_text_contents()) == names
        finally:
            for name in names:
                shutil.rmtree(shown_runs / name, ignore_errors=True)


def test_a_cell_of_the_confusion_matrix_opens_its_images(page):
    page.goto("/run/tiny")
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    check_accessible(page, "tiny")
    page.get_by_role("button", name=re.compile("seen as")).first.click()
    opened = page.locator("h3[role=status]")
    opened.wait_for()
    shown = page.locator("h3[role=status] + .photos img")
    assert f"{shown.count()} image" in opened.text_content()
    page.wait_for_function("[...document.querySelectorAll('.photos img')].some((image) => image.naturalWidth > 100)")
    cell = page.locator("#chart-confusion .nsewdrag").first
    cell.hover(position={"x": 10, "y": 10})  # the first cell, which is correct
    page.locator("#chart-confusion .hovertext").first.wait_for()
    cell.click(position={"x": 10, "y": 10})
    page.get_by_text("daisy, rightly recognised").wait_for()
    page.get_by_role("heading", name="On other photos: field").wait_for()
    page.get_by_text(re.compile(r"^\d figures$")).click()
    page.wait_for_function("document.querySelector('details .parts img').naturalWidth > 100")
    check_fit(page)


def test_the_photos_of_a_test_have_calibrated_probabilities(page, shown_runs):
    page.goto("/run/tiny")
    page.get_by_role("heading", name="The images that are most wrong").wait_for()
    rows = read_csv(shown_runs / "tiny" / "test_predictions.csv")
    assert {*page.locator(".photos figcaption").all_inner_texts()} == {
        f"{row['predicted']} {float(row['calibrated_confidence']):.0%}\nis {row['true']}; {row['image']}"
        for row in rows
        if row["correct"] != "1"
    }
    page.locator("#chart-confusion .main-svg").first.wait_for()


def test_a_run_that_is_opened_in_its_first_epoch_gets_its_results(page, shown_runs):
    folder = RunFolder(RunConfig(name="new", runs_dir=str(shown_runs), logs_dir=str(shown_runs.parent / "logs")))
    try:
        with folder.lock():
            page.goto("/run/new")
            page.get_by_text("is reading the data").wait_for()
            assert page.locator(".notice.bad").count() == 0
            for name in ("config.yaml", "classes.json"):
                shutil.copy(shown_runs / "tiny" / name, folder.path)
            page.get_by_text("The first epoch is running").wait_for()
            assert page.get_by_role("link", name="Try it on photos").count() == 0
            shutil.copytree(shown_runs / "tiny", folder.path, dirs_exist_ok=True)
        page.locator(".badge.finished").wait_for()
        page.get_by_role("link", name="Try it on photos").wait_for()
        page.locator("#chart-confusion .main-svg").first.wait_for()
    finally:
        folder.remove()


def test_a_cross_validation_is_continued_once_its_first_fold_has_begun(page, shown_runs):
    """Before that, its config.yaml gives the defaults of what would have been planned."""
    folder = shown_runs / "folds"
    folder.mkdir()
    try:
        (folder / "config.yaml").write_text("data: digits\nfilter_size: 3\nfolds: 5\n")
        page.goto("/run/folds")
        page.get_by_text("It stopped before its first epoch was saved").wait_for()
        assert page.get_by_text("--config").count() == 0
        (folder / "fold-1").mkdir()
        (folder / "fold-1" / "history.csv").write_text("epoch\n")
        page.get_by_text(f"--config {folder}/config.yaml --name folds").wait_for()
        page.get_by_text("It stopped before").wait_for(state="detached")
    finally:
        shutil.rmtree(folder)


def test_the_test_of_an_earlier_model_is_shown_as_that(page, shown_runs):
    folder = shutil.copytree(shown_runs / "tiny", shown_runs / "continued")
    try:
        shutil.copy(folder / "last.keras", folder / "model.keras")
        page.goto("/run/continued")
        page.get_by_text("of an earlier model; 95 % interval").wait_for()
        page.get_by_text("this is the test of an earlier one").wait_for()
        page.get_by_text("To test the present model:").wait_for()
        page.locator("#chart-confusion .main-svg").first.wait_for()
        page.goto("/")
        page.get_by_role("row", name=re.compile("continued")).get_by_text("% of an earlier model").wait_for()
        assert "of an earlier" not in page.get_by_role("row", name=re.compile("tiny")).first.text_content()
    finally:
        shutil.rmtree(folder)


def test_what_is_brushed_and_moved_in_a_chart_stays_while_trials_are_added(page, shown_runs):
    """Reasons of failures are shown as text."""
    page.goto("/sweep/search")
    page.locator("#chart-importance .barlayer").wait_for()
    check_accessible(page, "search")
    axis = page.locator("#chart-parallel .axis-brush .background").first
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 0.6 * box["height"])
    page.mouse.down()
    page.mouse.move(x, box["y"] + 0.95 * box["height"], steps=4)
    page.mouse.up()
    plot = "document.querySelector('#chart-parallel .js-plotly-plot')"
    chosen = f"{plot}.data[0].dimensions.find((axis) => axis.constraintrange)"
    page.wait_for_function(chosen)
    assert page.evaluate(f"{chosen}.label") == "epochs"
    box = page.locator("#chart-parallel .axis-title").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 150, y, steps=6)
    page.mouse.up()
    page.wait_for_function(f"{plot}.data[0].dimensions[1].label === 'epochs'")
    trials = shown_runs / "search" / "trials.csv"
    scored = [row for row in read_csv(trials) if row["status"] != "failed"]
    append_csv(trials, {**scored[0], "trial": "9999"})
    page.wait_for_function(f"{plot}.data[0].dimensions[1].values.length === {len(scored) + 1}")
    assert page.evaluate(f"{chosen}.label") == "epochs"
    assert page.evaluate(f"{plot}.data[0].dimensions[1].label") == "epochs"
    check_fit(page)
    page.get_by_label("Filter").fill("gelu pruned")
    page.get_by_label("Filter").select_text()  # sends an event that has the name of one of the table
    page.get_by_text(re.compile(r"^\d of 17 trials$")).wait_for()
    page.get_by_label("Filter").fill("failed")
    page.get_by_text("out of memory & <b>more</b>").first.wait_for()
    assert page.locator("img[src=x]").count() == 0


def test_labels_are_reviewed_in_two_windows_with_mouse_and_keyboard(page, browser, shown_runs, photos):
    table = shown_runs / "tiny" / "labels" / "labels.csv"
    page.goto("/labels/tiny")
    page.get_by_text("1 of 3 images reviewed: 1 kept.").wait_for()
    page.locator(".label-card img").first.wait_for()
    check_accessible(page, "Labels that may be wrong")
    check_fit(page)
    first, second, third = (page.get_by_role("group", name=f"daisy-0{number}.png") for number in range(3))
    first.get_by_text("Models say: iris, probability 90%, 3 of 4 models").wait_for()
    assert third.get_by_role("button", name="Keep daisy").get_attribute("aria-pressed") == "true"
    first.get_by_role("button", name="Keep daisy").press("x")
    page.get_by_text("2 of 3 images reviewed: 1 kept, 1 left out.").wait_for()
    assert second.get_by_role("button", name="Keep daisy").evaluate("(button) => button === document.activeElement")
    other = browser.new_page()
    other.goto("/labels/tiny")
    select = other.get_by_label(re.compile("^New class of .*daisy-01.png"))
    assert select.locator("option").all_text_contents() == ["iris", "rose"]
    select.select_option("rose")
    page.get_by_text("3 of 3 images reviewed: 1 relabelled, 1 kept, 1 left out.").wait_for()  # of the other window
    other.wait_for_function("[...document.images].every((image) => image.complete)")
    other.close()
    third.get_by_role("button", name="Undo").click()
    page.get_by_text("2 of 3 images reviewed").wait_for()
    page.reload()
    second.get_by_role("button", name="Relabel as", pressed=True).wait_for()
    assert page.get_by_label("New class of train/daisy/daisy-01.png").input_value() == "rose"
    assert f"cnn_scratch.train --config {shlex.quote(str(shown_runs / 'tiny'))}" in page.locator("code").text_content()
    assert f"--labels {shlex.quote(str(table))}" in page.locator("code").text_content()
    page.get_by_label("Show").select_option("to review")
    page.wait_for_function("document.querySelectorAll('.label-card').length === 1")
    dataset = load_dataset(DataConfig(data=str(photos), image_size=16, labels=str(table)), seed=0)
    assert dataset.left_out == ["train/daisy/daisy-00.png"]
    assert dataset.class_names[dataset.labels[dataset.names.index("train/daisy/daisy-01.png")]] == "rose"


def give(page, kind, files):
    """Drop or paste files on the page Try it: name -> content."""
    page.evaluate(
        """([kind, files]) => {
          const data = new DataTransfer();
          for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name));
          if (kind === "drop")
            document.querySelector(".photo-input").dispatchEvent(new DragEvent("drop", { dataTransfer: data }));
          else document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        [kind, [[name, list(content)] for name, content in files.items()]],
    )


def test_a_dropped_photo_is_classified_explained_and_compared(page, photo, shown_runs):
    page.goto("/try?run=tiny&other=twin")
    page.get_by_label("Photos to try").wait_for()
    give(page, "drop", {photo.name: photo.read_bytes(), "notes.txt": b"no photo"})
    page.get_by_role("heading", name=photo.name).wait_for()
    page.wait_for_function("document.querySelectorAll('.answer .photos').length === 2")
    panel = page.get_by_label("Answer of tiny").first
    assert panel.locator(".heat img").count() == 3
    assert panel.locator(".photos img").count() == 8
    panel.get_by_role("heading", name="The most similar training photos", exact=True).wait_for()
    page.get_by_role("heading", name="notes.txt").wait_for()
    page.locator(".answer", has_text="this photo cannot be read").nth(1).wait_for()
    model = ModelShelf().open(shown_runs / "tiny")
    expected = model.classify(model.decode(photo.read_bytes()), 5).classes
    shown = panel.locator(".bars li").all_text_contents()
    assert shown == [f"{name}{probability:.1%}" for name, probability in expected]
    assert find_violations(page) == []


def test_what_cannot_be_sent_does_not_keep_the_photos_from_being_classified(browser, photo, tmp_path):
    (tmp_path / "folder").mkdir()
    shutil.copy(photo, tmp_path / "first.png")
    files = [str(path) for path in (tmp_path / "first.png", tmp_path / "folder", photo)]
    dragged = {"items": [], "files": files, "dragOperationsMask": 1}
    with contextlib.closing(browser.new_page()) as page:  # its console says that the folder could not be loaded
        page.route("**/upload", lambda route: route.fulfill(body="not JSON"), times=1)
        page.goto("/try?run=tiny")
        box, session = page.get_by_label("Photos to try").bounding_box(), page.context.new_cdp_session(page)
        for kind in ("dragEnter", "dragOver", "drop"):
            where = {"x": box["x"] + 10, "y": box["y"] + 10}
            session.send("Input.dispatchDragEvent", {"type": kind, "data": dragged, **where})
        page.locator(".bars li").first.wait_for()
        page.get_by_text(re.compile("first.png: cannot be sent.*; folder: cannot be sent")).wait_for()
        assert page.get_by_role("heading", level=2).all_text_contents() == [photo.name]


def test_of_more_photos_than_are_kept_only_the_first_are_sent(page):
    page.goto("/try?run=tiny")
    page.get_by_label("Photos to try").wait_for()
    give(page, "drop", {f"{number}.png": b"no photo" for number in range(KEPT + 1)})
    page.get_by_text(f"Only the first {KEPT} of {KEPT + 1} photos are sent").wait_for()
    page.get_by_role("heading", name=f"{KEPT - 1}.png").wait_for()
    assert page.get_by_role("heading", level=2).count() == KEPT
    assert page.get_by_text("not kept any more").count() == 0


def test_photos_are_chosen_pasted_and_taken_with_the_camera(page, photo):
    page.goto("/try?run=tiny")
    check_accessible(page, "Try a model on your photos")
    check_fit(page)
    page.locator("input[type=file]").set_input_files(photo)
    page.get_by_role("heading", name=photo.name).wait_for()
    page.locator(".bars li").first.wait_for()
    give(page, "paste", {"pasted.png": photo.read_bytes()})
    page.get_by_role("heading", name="pasted.png").wait_for()
    page.locator(".bars li").first.wait_for()
    page.get_by_role("button", name="Use the camera").click()  # the browser's fake camera
    page.get_by_role("button", name="Take the photo").wait_for()
    page.wait_for_function("document.querySelector('video').videoWidth > 0")
    page.get_by_role("button", name="Take the photo").click()
    page.get_by_role("heading", name="camera.jpg").wait_for()
    page.locator(".bars li").first.wait_for()


def test_names_are_shown_as_text(page):
    page.goto("/")
    page.get_by_role("link", name=EVIL).click()
    page.get_by_role("heading", level=1, name=EVIL).wait_for()
    assert page.locator("img[src=x]").count() == 0


def ask(address, **headers):
    """Return (status, headers, body) of a request."""
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_pages_show_what_the_reports_of_a_sweep_and_of_a_run_say(server, shown_runs):
    sweep, run = shown_runs / "search", open_run(shown_runs / "tiny")
    analysis = analyse_sweep(sweep, read_results(sweep))
    test = build_test_section(run.metrics["test"], [])
    for address, tile, sections in (
        ("/sweep/search", build_expected_tile(analysis), [build_statistics_section(analysis, sweep)]),
        ("/run/tiny", None, [test, *build_evaluation_sections(run)]),
    ):
        body = html.unescape(ask(server + address)[2].decode())
        paragraphs = [line for section in sections for line in section.text.splitlines()]
        assert len(paragraphs) > 2
        for text in [*paragraphs, *([tile.label, tile.value, tile.note] if tile else [])]:
            assert json.dumps(text)[1:-1] in body
    assert any("'Rosa' counts as 'rose'" in text for text in paragraphs)


def test_only_photos_of_known_data_and_figures_of_runs_are_served(server, shown_runs, photos):
    known = urllib.parse.urlencode({"data": str(photos), "name": "train/daisy/daisy-00.png"})
    status, headers, body = ask(f"{server}/photo?{known}")
    assert (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    for data, name in (
        (str(photos), "../../runs/tiny/figures/confusion_matrix.png"),
        (str(photos.parent), "photos/train/daisy/daisy-00.png"),
        ("/etc", "passwd"),
        (str(shown_runs), "tiny/config.yaml"),
    ):
        assert ask(f"{server}/photo?{urllib.parse.urlencode({'data': data, 'name': name})}")[0] == 404
    for path in ("confusion_matrix.png", "confusion_matrix.png?part=0", "field/confusion_matrix.png"):
        assert ask(f"{server}/figure/tiny/{path}")[0] == 200
    for path in (
        "tiny/confusion_matrix.png?part=9",
        "tiny/field/figures/confusion_matrix.png",
        "tiny/field/../../config.yaml",
        "tiny/..%2Fevaluations%2Ffield%2Fmetrics.json",
        "tiny/..%2Fconfig.yaml",
        "..%2Fruns%2Ftiny/confusion_matrix.png",
        "tiny/config.yaml",
        "%2Fetc/passwd",
    ):
        assert ask(f"{server}/figure/{path}")[0] == 404
    for path in ("/../../etc/passwd", "/runs/tiny/config.yaml", "/static/../config.yaml", "/run/..%2F..%2Fetc"):
        status, _, body = ask(server + path)
        assert b"root:" not in body
        assert b"learning_rate" not in body


def test_other_sites_cannot_use_the_pages(server):
    status, headers, _ = ask(server)
    assert status == 200
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(server, Host="evil.example")[0] == 403  # a name that someone has pointed at this machine
    assert ask(server, Origin="https://evil.example")[0] == 403
    assert ask(server, Origin=server)[0] == 200
    socket_path = f"{server}/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert ask(socket_path, Origin="https://evil.example")[0] == 403


def test_unknown_runs_are_explained(page):
    for address, heading in (
        ("/run/none", "There is no such run"),
        ("/sweep/tiny", "There is no such sweep"),
        ("/labels/search", "There is no such label search"),
    ):
        page.goto(address)
        page.get_by_role("heading", level=1, name=heading).wait_for()
    many = "&".join(f"run=r{number}" for number in range(7))
    page.goto(f"/compare?run=tiny&run=twin&{many}")
    page.get_by_text("Only the first 8 of the 9 runs are compared").wait_for()
    page.goto("/compare?run=tiny")
    page.get_by_text("Tick two or more finished runs").wait_for()
    page.goto("/compare?run=tiny&run=search")
    page.get_by_role("status").first.wait_for()


@contextlib.contextmanager
def pause(process):
    """Let a process wait in this block."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_sweep_is_watched_stopped_and_continued(page, shown_runs, shared_red_and_blue):
    """The command that the page shows is the one that its button runs, and the page sees the sweep's end."""
    space = shown_runs.parent / "space.yaml"
    space.write_text("parameters:\n  learning_rate: {values: [0.001, 0.002]}\n  epochs: {value: 60}\n")
    options = ["--data", str(shared_red_and_blue), "--image-size", "32", "--space", str(space), "--workers", "0"]
    options += ["--num-filters", "4", "--dense-units", "4", "--logs-dir", str(shown_runs.parent / "logs")]
    command = [sys.executable, "-m", "cnn_scratch.tune", *options, "--name", "live", "--runs-dir", str(shown_runs)]
    page.goto("/")
    with processes.Process(command, stdout=processes.DEVNULL, stderr=processes.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not ((status := read_status(shown_runs / "live")) and status.running):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pause(process):  # a slow browser would come after the sweep's end
            page.locator("tr", has=page.get_by_role("link", name="live")).get_by_text("running").wait_for()
            page.get_by_role("link", name="live").click()
            page.get_by_role("link", name="The sweep").or_(page.get_by_role("heading", name="All trials")).wait_for()
            page.goto("/sweep/live")
            page.get_by_role("cell", name=re.compile("first epoch|epoch \\d+")).wait_for()
            assert page.get_by_text(f"kill -TERM {process.pid}").count() == 1
            page.get_by_role("button", name="Stop the sweep").click()
            page.get_by_text("The sweep is asked to stop").wait_for()
        page.locator(".badge.stopped").wait_for()
        assert process.wait(60) == 130
    assert f"--config {shlex.quote(str(shown_runs / 'live' / 'config.yaml'))}" in page.locator("code").text_content()
    page.get_by_role("button", name="Continue the sweep").click()
    page.locator(".badge.running").wait_for()
    page.locator(".badge.finished").wait_for()
    assert page.get_by_role("button", name="more trial").count() == 0  # all points are tried: nothing is offered
    assert page.locator("tbody .badge.completed").count() == 2
    page.get_by_role("link", name="Results of the best model").wait_for()
