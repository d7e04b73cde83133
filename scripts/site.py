"""A hook of the documentation site: links to source files are links in a checkout only."""

from __future__ import annotations

import re
from typing import Any

_TO_SOURCE = re.compile(
    r"\[([^\]]+)\]\(\.\./(?:autobatch|scripts|tests|examples|CONTRIBUTING)\b[^)]*\)"
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What mkdocs calls with each page before it is rendered."""
    return _TO_SOURCE.sub(r"\1", markdown)
