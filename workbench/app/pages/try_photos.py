"""The page on which a finished model, or two side by side, classify and explain the user's own photos."""

import asyncio
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from nicegui import ui
from nicegui.events import GenericEventArguments
from starlette.requests import Request

from workbench.app.catalogue import Entry
from workbench.app.elements.layout import (
    PATIENCE,
    Text,
    add_choice,
    add_command,
    add_empty,
    add_notice,
    describe_problem,
    frame,
)
from workbench.app.elements.photo_grid import ShownPhoto, add_photo_grid
from workbench.app.elements.photo_input import PhotoInput
from workbench.app.images.uploads import KEPT, Uploads
from workbench.app.state import AppState
from workbench.commandline.calls import format_call

if TYPE_CHECKING:
    from workbench.app.loaded_model import Answer, LoadedModel, SimilarPhotos

_TOP_K, _SIMILAR = 5, 8
_NONE = ""
Result = TypeVar("Result")


def add_page(state: AppState, uploads: Uploads) -> None:
    """Add the page to the application."""

    @ui.page("/try", response_timeout=PATIENCE)
    async def show(request: Request) -> None:
        entries = [entry for entry in await asyncio.to_thread(state.catalogue.list_entries) if entry.has_model]
        with frame("Try it", "/try"):
            Text("h1", "Try a model on your photos")
            if not entries:
                add_empty(
                    "There is no finished model yet. Train one, and drop a photo on it here.",
                    [("Train a network:", f"{format_call('cnn_scratch.train')} --data FOLDER")],
                )
                return
            asked = request.query_params
            TryPage(state, uploads, entries, asked.get("run", ""), asked.get("other", _NONE))


class TryPage:
    """The content of the page.

    Args:
        state: what all pages share.
        uploads: the photos that were dropped.
        entries: the runs that have a model.
        first, second: names of the runs that are chosen at first; `second` may be none.
    """

    def __init__(self, state: AppState, uploads: Uploads, entries: list[Entry], first: str, second: str) -> None:
        self._state, self._uploads = state, uploads
        names = [entry.name for entry in entries]
        self._chosen = [first if first in names else names[0], second if second in names else _NONE]
        self._photos: list[tuple[str, str]] = []  # keys and names of the present photos
        Text(
            "p",
            "Photos stay on this machine. The first answer takes some seconds: the model is loaded.",
            "lead",
        )
        with Text("div", classes="choices"):
            add_choice("Model", names, self._chosen[0], lambda event: self._choose(0, event))
            add_choice("Next to it", [_NONE, *names], self._chosen[1], lambda event: self._choose(1, event))
        PhotoInput(self._take, limit=KEPT)
        self._answers = Text("div")

    async def _choose(self, place: int, event: GenericEventArguments) -> None:
        self._chosen[place] = str(event.args)
        if self._photos:
            await self._take(self._photos)

    async def _take(self, photos: list[tuple[str, str]]) -> None:
        """Show what the chosen models say about photos, one after the other."""
        self._photos = present = [*photos]
        self._answers.clear()
        waiting = []
        with self._answers:
            for key, name in photos:
                content = self._uploads.get(key)
                Text("h2", name)
                if content is None:
                    add_notice("This photo is not kept any more; drop it again.")
                    continue
                with Text("div", classes="answers"):
                    models = [model for model in dict.fromkeys(self._chosen) if model]
                    waiting += [(AnswerPanel(self._state, model), content) for model in models]
        for panel, content in waiting:
            if self._photos is present:
                await panel.fill(content)


class AnswerPanel:
    """What one model says about a photo: it fills step by step, the quick answer first.

    Args:
        state: what all pages share.
        name: of the run.
    """

    def __init__(self, state: AppState, name: str) -> None:
        self._state, self._name = state, name
        with Text("section", classes="answer", aria_label=f"Answer of {name}") as self._panel:
            Text("h3", name)
            self._progress = Text("p", "Waiting ...", "soft", role="status")
            self._content = Text("div")

    async def fill(self, content: bytes) -> None:
        """Show the classes, then the explanations, then the similar training photos."""
        entry = await asyncio.to_thread(self._state.catalogue.find, self._name)
        if entry is None:
            self._fail("This run is gone.")
            return
        self._progress.text = "Loading the model and classifying ..."
        try:
            model, image, answer = await self._compute(lambda: _classify(self._state, entry, content))
        except Exception as error:
            self._fail(describe_problem(error))
            return
        if self._panel.is_deleted:
            return
        with self._content:
            _add_answer(answer)
            with Text("div", classes="heat"):
                with Text("figure"):
                    _fill_figure(answer.photo, "what the model sees")
                cam, integrated = Text("figure"), Text("figure")
            similar = Text("div")
        await self._add(cam, "Grad-CAM ...", lambda: model.draw_gradcam(image), _add_cam)
        await self._add(
            integrated, "Integrated gradients ...", lambda: model.draw_integrated_gradients(image), _add_pixels
        )
        await self._add(
            similar,
            "Looking for similar training photos ...",
            lambda: model.find_similar(image, _SIMILAR),
            lambda found: _add_similar(entry, found),
        )
        self._progress.text = ""

    async def _add(self, place: Text, doing: str, work: Callable[[], Result], add: Callable[[Result], None]) -> None:
        """Compute a part in a worker thread, and add it at its place; a part that cannot be computed says why."""
        if self._panel.is_deleted:
            return
        self._progress.text = doing
        try:
            result = await self._compute(work)
        except Exception as error:
            if not self._panel.is_deleted:
                with place:
                    Text("p", describe_problem(error), "soft")
            return
        if not self._panel.is_deleted:
            with place:
                add(result)

    async def _compute(self, work: Callable[[], Result]) -> Result:
        """Run a computation in a worker thread, one at a time."""

        def work_alone() -> Result:
            with self._state.models.lock:
                return work()

        return await asyncio.to_thread(work_alone)

    def _fail(self, reason: str) -> None:
        if self._panel.is_deleted:
            return
        self._progress.text = ""
        with self._content:
            add_notice(reason, "bad")


def _classify(state: AppState, entry: Entry, content: bytes) -> "tuple[LoadedModel, Any, Answer]":
    model = state.models.open(entry.path)
    image = model.decode(content)
    return model, image, model.classify(image, _TOP_K)


def _add_answer(answer: "Answer") -> None:
    """Add the most probable classes, each with a bar."""
    with Text("ul", classes="bars"):
        for place, (class_name, probability) in enumerate(answer.classes):
            with Text("li"):
                Text("span", class_name, "" if place else "top-class")
                Text("span", f"{probability:.1%}", "" if place else "top-class")
                with Text("div", classes="track", aria_hidden="true"):
                    Text("div", style=f"width: {100 * probability:.1f}%")
    if answer.is_unknown:
        Text("p", "Unknown: the model is less confident than for 95 % of the photos that it recognises.", "soft")
    if answer.note:
        Text("p", answer.note, "soft")


def _add_cam(picture: str) -> None:
    _fill_figure(picture, "Grad-CAM: bright is evidence for this class")


def _add_pixels(picture: str) -> None:
    _fill_figure(picture, "Integrated gradients: bright pixels raise its score")


def _fill_figure(src: str, caption: str) -> None:
    """Add a picture and its caption to the present figure."""
    Text("img", src=src, alt=caption)
    Text("figcaption", caption)


def _add_similar(entry: Entry, found: "SimilarPhotos") -> None:
    Text("h3", found.describe())
    add_photo_grid(
        [
            ShownPhoto(photo.photo, photo.class_name, f"similarity {photo.similarity:.2f}; {photo.name}")
            for photo in found.photos
        ]
    )
    add_command(
        "To classify photos in a terminal:",
        f"{format_call('workbench.predict')} {shlex.quote(str(entry.path))} PHOTO_OR_FOLDER",
    )
