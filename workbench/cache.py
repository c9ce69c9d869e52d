"""Where the project keeps what can be computed again: decoded images, features, measurements."""

import os
from pathlib import Path


def find_cache_dir(cache_dir: str | Path | None = None) -> Path:
    """Return `cache_dir`, or by default image-workbench in the user's cache folder; it need not exist yet."""
    if cache_dir:
        return Path(os.path.expanduser(cache_dir))
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "image-workbench"
