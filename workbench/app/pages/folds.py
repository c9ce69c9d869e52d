"""The page of a cross-validation: how many folds are trained, the accuracy on all images, and that of each fold."""

import shlex

from workbench.app.catalogue import Entry
from workbench.app.elements.layout import Text, add_command, add_notice
from workbench.app.elements.live_page import LivePage, add_labels_link
from workbench.app.elements.report_section import add_table
from workbench.app.label_review import find_table
from workbench.app.processes import describe_stop, format_stop
from workbench.app.state import AppState
from workbench.commandline.calls import format_call
from workbench.origin import find_command_of_run
from workbench.table import Column, Table
from workbench.training.fold_scores import BEST_EPOCHS_NOTE, FoldsSummary, describe_warning
from workbench.training.saved_state import HISTORY
from workbench.wording import format_count


class FoldsPage(LivePage):
    """The content of the page; `refresh` reads the folder again and changes what is new.

    Args:
        state: what all pages share.
        entry: the cross-validation.
    """

    def __init__(self, state: AppState, entry: Entry) -> None:
        super().__init__(state, entry)
        self._actions, self._commands, self._folds = Text("div", classes="actions"), Text("div"), Text("div")

    async def refresh(self) -> None:
        """Read the folder, and change what is new."""
        entry = await self._read("cross-validation")
        if entry is None:
            return
        data = entry.data_name or "?"
        self._lead.text = (
            f"A cross-validation on {data}: {format_count(entry.num_folds, 'training')}, each validated on images that "
            "it has not seen."
        )
        # config.yaml gives every option, so with it the first fold would not be planned. Later folds have the settings
        # of the first one, so the command is right once the first fold has a finished epoch.
        has_begun = (entry.path / "fold-1" / HISTORY).exists()
        self._update("notices", _list_notices(entry, has_begun), self._show_notices)
        self._update("tiles", _list_tiles(entry), self._show_tiles)
        has_table = find_table(entry) is not None
        self._update("actions", has_table, lambda _: self._show_actions(has_table))
        shown = entry.state, has_begun, has_table
        self._update("commands", shown, lambda _: self._show_commands(entry, has_begun, has_table))
        self._update("folds", entry.folds, self._show_folds)

    def _show_actions(self, has_table: bool) -> None:
        self._actions.clear()
        with self._actions:
            if has_table:
                add_labels_link(self._name)

    def _show_commands(self, entry: Entry, has_begun: bool, has_table: bool) -> None:
        self._commands.clear()
        command, folder = find_command_of_run(entry.path, entry.config), str(entry.path)
        with self._commands:
            if entry.holder:
                what = f"{describe_stop(entry.holder)} (finished folds and epochs are kept):"
                add_command(what, format_stop(entry.holder))
            elif entry.state == "stopped" and has_begun and command:
                words = [
                    "--config",
                    f"{folder}/config.yaml",
                    "--name",
                    entry.name,
                    "--runs-dir",
                    str(entry.path.parent),
                ]
                add_command("To continue it:", f"{format_call(command)} {shlex.join(words)}")
            elif entry.state == "finished" and not has_table:
                line = f"{format_call('workbench.data')} labels {shlex.quote(folder)}"
                add_command("To find labels that are probably wrong:", line)

    def _show_folds(self, summary: FoldsSummary | None) -> None:
        self._folds.clear()
        if summary is None:
            return
        with self._folds:
            Text("h2", "Folds")
            Text("p", f"{BEST_EPOCHS_NOTE[:1].upper()}{BEST_EPOCHS_NOTE[1:]}.")
            warning = describe_warning(summary)
            if warning:
                add_notice(f"{warning[:1].upper()}{warning[1:]}.")
            rows = [[str(place), f"{share:.1%}"] for place, share in enumerate(summary["fold_accuracies"], 1)]
            columns = [Column("fold"), Column("validation accuracy")]
            add_table(Table("Validation accuracy of each fold", columns, rows), shows_caption=False)


def _list_notices(entry: Entry, has_begun: bool) -> list[str]:
    if entry.problem:
        return [f"This cross-validation cannot be read: {entry.problem}."]
    if entry.state == "stopped" and not has_begun:
        return ["It stopped before its first epoch was saved, so nothing is kept: type its command again."]
    return ["The command has started, and is reading the data."] if entry.is_starting else []


def _list_tiles(entry: Entry) -> list[tuple[str, str, str]]:
    tiles = [("progress", entry.progress, "")]
    if entry.folds:
        low, high = entry.folds["val_accuracy_interval"]
        note = f"95 % interval {low:.1%} to {high:.1%}; {format_count(entry.folds['images'], 'image')}"
        tiles.insert(0, ("validation accuracy", f"{entry.folds['val_accuracy']:.1%}", note))
        spread = f"{100 * entry.folds['standard_deviation']:.1f} points"
        tiles.append(("spread of the folds", spread, "standard deviation"))
    if entry.device:
        tiles.append(("device", entry.device, ""))
    return tiles
