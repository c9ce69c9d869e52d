"""A CNN of five blocks from scratch: `from cnn_scratch import build_cnn, train, tune`; see docs/api.md."""

from typing import TYPE_CHECKING

from workbench.lazy_api import offer

if TYPE_CHECKING:
    from cnn_scratch.api import train, tune
    from cnn_scratch.config import NetworkConfig
    from cnn_scratch.model import build_cnn

__all__ = ["NetworkConfig", "build_cnn", "train", "tune"]

offer(
    __name__,
    {
        "NetworkConfig": "cnn_scratch.config",
        "build_cnn": "cnn_scratch.model",
        "train": "cnn_scratch.api",
        "tune": "cnn_scratch.api",
    },
)
