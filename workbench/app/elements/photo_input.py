"""Where photos come in: dropped, pasted, chosen as files, or taken with the camera."""

from collections.abc import Awaitable, Callable

from nicegui.element import Element
from nicegui.events import GenericEventArguments


class PhotoInput(Element, component="photo_input.js"):
    """A place for photos. The browser sends each to the server's `/upload`, and the page gets their keys and names.

    Args:
        on_photos: called with (key, name) of the photos that came together.
        limit: how many may come together; the browser sends no more, and says so.
    """

    def __init__(self, on_photos: Callable[[list[tuple[str, str]]], Awaitable[None]], limit: int) -> None:
        super().__init__()
        self.props["limit"] = limit

        async def handle(event: GenericEventArguments) -> None:
            await on_photos([(str(photo["key"]), str(photo["name"])[:200]) for photo in event.args])

        self.on("photos", handle)
