"""The one template engine: every page is rendered by `render` from a template in this folder.

Templates extend `base.html`, which holds what all pages share: the head, the style sheet's place and the security
policy that keeps a page from loading anything from outside.
"""

import functools
from pathlib import Path
from typing import Any

import jinja2

from workbench.wording import format_count

_FOLDER = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """Return the HTML document that a template makes of these values; text from them is escaped.

    Args:
        template: file name in this folder, such as `report.html`.
        values: what the template may use, by name.

    Raises:
        jinja2.UndefinedError: the template uses a value that is not given.
    """
    return _environment().get_template(template).render(values, format_count=format_count)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
