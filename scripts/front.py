"""The pictures on the first screen of the README, from one real run: a terminal, and the plot.

    python -m scripts.front

It runs `autobatch probe examples/digits_cnn.py --memory-limit 640MiB`, about twenty seconds on two
cores, and writes docs/terminal.svg and docs/digits_cnn.svg. Run it where nothing else runs: what
the machine did is what the pictures show. Needs matplotlib and scikit-learn.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import CONSOLE_SVG_FORMAT, Console

from autobatch.reporting import load, save_plot
from scripts.workbench import ROOT, make_parser

# The limit makes memory matter, so that the plot has something to show.
_COMMAND = ("autobatch", "probe", "examples/digits_cnn.py", "--memory-limit", "640MiB")
_COLUMNS = 84
# Fonts from elsewhere would be fetched by each reader, and a page's policy may forbid it.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.S)


def first_screen(report: str) -> str:
    """Verdict, table and recommendation of a report: its first three blocks.

    Args:
        report: What the command wrote to standard output.
    """
    blocks = report.split("\n\n")
    return "\n\n".join(blocks[:3])


def draw_terminal(text: str, *, title: str) -> str:
    """A window with text in it, as SVG that needs no other file.

    Args:
        text: What the window shows, with escape sequences for its colours.
        title: Of the window.
    """
    console = Console(
        file=io.StringIO(), record=True, width=_COLUMNS, force_terminal=True, highlight=False
    )
    for line in AnsiDecoder().decode(text):
        console.print(line, soft_wrap=True)
    return console.export_svg(title=title, code_format=_FORMAT, unique_id="terminal")


def main() -> int:
    """Run the command and write the pictures."""
    make_parser(__doc__).parse_args()
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    environment["COLUMNS"] = str(_COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "finding.json"
        words = [sys.executable, "-m", *_COMMAND, "-o", str(saved)]
        done = subprocess.run(
            words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        save_plot(load(saved), ROOT / "docs" / "digits_cnn.svg")
    shown = f"$ \x1b[1m{' '.join(_COMMAND)}\x1b[0m\n{first_screen(done.stdout)}"
    picture = draw_terminal(shown, title=" ".join(_COMMAND))
    (ROOT / "docs" / "terminal.svg").write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
