"""Fine-tuning of pretrained networks: `from transfer import finetune`; see docs/api.md."""

from typing import TYPE_CHECKING

from workbench.lazy_api import offer

if TYPE_CHECKING:
    from transfer.api import finetune

__all__ = ["finetune"]

offer(__name__, {"finetune": "transfer.api"})
