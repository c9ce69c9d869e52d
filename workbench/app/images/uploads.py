"""The photos that users have dropped: the last ones, in memory only."""

KEPT = 24  # photos
MAX_BYTES = 40_000_000  # of one photo


class Uploads:
    """Keeps the last photos."""

    def __init__(self) -> None:
        self._photos: dict[str, bytes] = {}

    def add(self, key: str, content: bytes) -> None:
        """Keep a photo under a key, and forget the oldest if there are too many."""
        self._photos[key] = content
        for old in list(self._photos)[:-KEPT]:
            del self._photos[old]

    def get(self, key: str) -> bytes | None:
        """Return a photo; None if it is not kept any more."""
        return self._photos.get(key)
