"""The pictures of the first screen: drawn from what the command wrote, and shown with its words."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from scripts.front import draw_terminal, first_screen

ROOT = Path(__file__).resolve().parents[3]


def words_of(svg: str) -> str:
    """The text of a picture of a terminal, without its spaces.

    Args:
        svg: The picture.
    """
    pieces = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return "".join("".join(map(html.unescape, pieces)).split())


def test_a_terminal_is_drawn_in_its_colours_and_needs_no_other_file() -> None:
    svg = draw_terminal("Batch size \x1b[1;32m256\x1b[0m: <fast>", title="probe")
    assert words_of(svg) == "probeBatchsize256:<fast>"
    assert re.search(r"\.terminal-r\d \{ fill: #98a84b;font-weight: bold", svg)
    assert "url(" not in svg.replace("url(#", "")


def test_the_first_screen_is_verdict_table_and_recommendation() -> None:
    assert first_screen("verdict\nwhy\n\ntable\n\ndetail\n\nheader\n\nwarning\n") == (
        "verdict\nwhy\n\ntable\n\ndetail"
    )


@pytest.mark.parametrize(("page", "folder"), [("README.md", "docs/"), ("docs/index.md", "")])
def test_a_reader_without_pictures_reads_what_is_in_them(page: str, folder: str) -> None:
    text = (ROOT / page).read_text()
    assert f"]({folder}digits_cnn.svg)" in text
    said = re.search(rf"!\[([^]]*)\]\({folder}terminal\.svg\)", text)
    assert said is not None
    words = "".join(said[1].split())
    assert "Batchsize" in words and "Why:" in words
    assert words in words_of((ROOT / "docs" / "terminal.svg").read_text())
