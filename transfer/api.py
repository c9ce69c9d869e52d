"""What `from transfer import ...` offers to programs and notebooks."""

import os
from typing import Any

from transfer.config import TransferConfig
from transfer.run import run
from workbench.clock import start_command
from workbench.commandline.keywords import make_config
from workbench.finished_run import FinishedRun, open_run


def finetune(data: str | os.PathLike | None = None, mode: str | None = None, **options: Any) -> FinishedRun:
    """Fine-tune a pretrained network, and return its run.

    Args:
        data: folder of images, or the name of a data set; by default `digits`.
        mode: `last_layer`, the default, trains only the new head, `first_k` freezes the first k layers, `all` trains
            all layers.
        options: those of `python -m transfer.run`, such as `backbone="MobileNetV2"`, or `from_=run` for a network of
            `cnn_scratch.train`.

    Raises:
        TypeError: there is no such option.
        UserError: the data, the backbone, its weights, an option or the run folder cannot be used, or the loss became
            NaN.
    """
    with start_command(is_process=False):
        given = {name: value for name, value in (("data", data), ("mode", mode)) if value is not None}
        return open_run(run(make_config(TransferConfig, "finetune", given | options)))
