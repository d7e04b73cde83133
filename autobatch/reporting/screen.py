"""The one door to a console: what goes through it fits, and holds no foreign control codes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.text import Text

from autobatch import units

_T = TypeVar("_T")

# Lines of prose longer than this are hard to read, however wide the window.
MAX_WIDTH = 120
# Looks like a blank and is none, for rich breaks lines at no-break spaces too. Never printed.
_BLANK = "\N{BRAILLE PATTERN BLANK}"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b."
)


class PipeConsole(Console):
    """A console that raises ``BrokenPipeError``, where rich's would end the process."""

    def on_broken_pipe(self) -> None:
        """Let the caller decide."""
        raise


def show(console: Console, *blocks: RenderableType) -> None:
    """Print blocks without trailing blanks, which rich would leave on every line of a table."""
    options = console.options.update(width=min(console.width, MAX_WIDTH))
    for block in blocks:
        for line in console.render_lines(keep_units(block), options, pad=False):
            segments = [*_without_trailing_blanks(line, console.encoding), Segment.line()]
            console.print(Segments(segments), end="", soft_wrap=True)


def keep_units(block: RenderableType) -> RenderableType:
    """Prose in which no line breaks between a figure and its unit, to be printed by ``show``.

    Args:
        block: Prose, padded or not; anything else stays as it is.
    """
    if isinstance(block, Padding):
        block.renderable = keep_units(block.renderable)
    if isinstance(block, Text):
        block = block.copy()
        block.plain = units.bind_units(block.plain, _BLANK)
    return block


def as_text(render: Callable[[_T, Console], None], result: _T, *, width: int) -> str:
    """What a person would see of a result, as plain text.

    Args:
        render: Prints the result.
        result: The result.
        width: Characters in a line.
    """
    text = io.StringIO()
    # In a notebook rich would show the lines instead of writing them, and in colour.
    console = Console(
        file=text, width=width, force_jupyter=False, force_terminal=False, highlight=False
    )
    render(result, console)
    return text.getvalue()


def printable(text: str, encoding: str = "utf-8") -> str:
    """Remove escape sequences, control codes and characters that cannot be encoded.

    Args:
        text: Any text.
        encoding: Encoding of the stream.
    """
    bare = _CONTROL.sub("", _ESCAPE_SEQUENCE.sub("", text))
    return bare.encode(encoding, "replace").decode(encoding)


def _without_trailing_blanks(line: list[Segment], encoding: str) -> list[Segment]:
    texts = [printable(segment.text.replace(_BLANK, " "), encoding) for segment in line]
    kept = [segment._replace(text=text) for segment, text in zip(line, texts, strict=True)]
    while kept and not kept[-1].text.strip():
        kept.pop()
    if kept:
        kept[-1] = kept[-1]._replace(text=kept[-1].text.rstrip())
    return kept
