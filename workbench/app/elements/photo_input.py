"""Where photos come in: dropped, pasted, chosen as files, or taken with the camera."""

from collections.abc import Awaitable, Callable

from nicegui.element import Element
from nicegui.events import GenericEventArguments


class PhotoInput(Element, component="photo_input.js"):
    """A place for photos. The browser sends each to the server's `/upload`, and the page gets its key and name.

    Args:
        on_photo: called with the key and the name of each photo.
    """

    def __init__(self, on_photo: Callable[[str, str], Awaitable[None]]) -> None:
        super().__init__()

        async def handle(event: GenericEventArguments) -> None:
            await on_photo(str(event.args["key"]), str(event.args["name"])[:200])

        self.on("photo", handle)
