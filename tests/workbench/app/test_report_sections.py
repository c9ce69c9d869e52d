import dataclasses

import pytest

from tests.workbench.synthetic import CELLS, write_outcomes, write_sweep
from workbench.app.catalogue import Catalogue
from workbench.app.elements.report_section import build_rows
from workbench.app.processes import Holder
from workbench.app.report_sections import ReportSections
from workbench.files import append_csv, read_csv
from workbench.table import Column, Table


def test_a_sweep_is_analysed_again_only_when_its_files_have_changed(tmp_path):
    folder = write_sweep(tmp_path, 12)
    write_outcomes(folder)
    catalogue, reports = Catalogue(folder.parent), ReportSections()
    entry = catalogue.find(folder.name)
    built = reports.build_sweep(entry)
    assert [section.heading for section in built.sections] == ["On new images"]
    assert built.tiles[0].label == "expected on new images"
    assert reports.build_sweep(catalogue.find(folder.name)) is built
    row = read_csv(folder / "trials.csv")[0]
    append_csv(folder / "trials.csv", {**row, "trial": "0100", "val_accuracy": "0.1"})
    running = dataclasses.replace(catalogue.find(folder.name), holder=Holder(1, "here", "", False))
    assert reports.build_sweep(running) is built  # one more trial of 12 is not worth the time
    again = reports.build_sweep(catalogue.find(folder.name))
    assert "1 trial of an earlier call left no predictions" in again.sections[0].text


def test_a_sweep_without_outcomes_has_no_section(tmp_path):
    folder = write_sweep(tmp_path, 3)
    built = ReportSections().build_sweep(Catalogue(folder.parent).find(folder.name))
    assert (built.sections, built.tiles, built.problem) == ([], [], "")


def test_outcomes_that_do_not_fit_are_named_and_the_rest_is_shown(tmp_path):
    folder = write_sweep(tmp_path, 3)
    write_outcomes(folder)
    (folder / "split.csv").unlink()
    built = ReportSections().build_sweep(Catalogue(folder.parent).find(folder.name))
    assert (built.sections, built.tiles) == ([], [])
    assert "split.csv" in built.problem


@pytest.mark.parametrize("cells", CELLS)
def test_cells_are_sorted_by_the_numbers_that_they_begin_with(cells):
    """Numeric ones without a number have no value, so that they come last; words are sorted as words."""
    lines = [[f"run {cell}", cell] for cell in [*cells, "?", "none left (-2)", ""]]
    rows = build_rows(Table("Each run", [Column("run", False), Column("value")], lines))
    assert [[text for text, _ in row.cells] for row in rows] == lines
    values = [row.cells[1][1] for row in rows]
    assert values[: len(cells)] == sorted({*values[: len(cells)]})
    assert values[len(cells) :] == [None] * 3
    assert [row.cells[0][1] for row in rows] == [run for run, _ in lines]
