"""Words that STYLE.md bans stay out of the package, the README, the changelog and the docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What to write instead stands in STYLE.md. Letter case makes no difference.
BANNED = (
    r"\bdata sets?\b",
    r"\bprocessors?\b",
    r"\bcontrol groups?\b",
    r"\bplaces\b",
    r"\b(a|such a|the) share\b|\bshare of\b|['\"]SHARE['\"]",
    r"\bcontest(s|ants?)?\b",
    r"\bdraw[ns]? to (the|its) curve\b",
    r"(?<!degrees of )\bfreedom\b",
    r"\bmisfit\b",
    r"\bwhoever\b",
    r"\bis no choice\b|\btake one of\b",
    r"\bwrite it so\b",
    r"\bwith hands\b|\bat hand\b",
    r"\bas may be\b|\bwhat there is\b",
    r"\bin vain\b",
    r"\bmakeup\b",
    r"\brestless|\bmoods?\b",
    r"\bnext to nothing\b",
    r"\bof[_ ]the[_ ]dead\b",
)
# A path, what is allowed there, and why.
ALLOWED = (
    ("autobatch/devices/cpu.py", "platform.processor()", "a name of the standard library"),
    ("autobatch/devices/mps.py", "platform.processor()", "a name of the standard library"),
    ("docs/benchmark.md", "Intel(R) Xeon(R) Processor", "the name of the hardware, as printed"),
    ("docs/devices.md", "Intel(R) Xeon(R) Processor", "the name of the hardware, as printed"),
)


def find_banned_words(path: str, text: str) -> Iterator[str]:
    """Lines with a banned word, as ``path:line: word``.

    Args:
        path: Relative to the project.
        text: What the file says.
    """
    for allowed_path, phrase, _ in ALLOWED:
        if path == allowed_path:
            text = text.replace(phrase, "")
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern in BANNED:
            found = re.search(pattern, line, re.IGNORECASE)
            if found is not None:
                yield f"{path}:{number}: {found[0]}"


def _read_files() -> Iterator[tuple[str, str]]:
    names = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "autobatch/**/*.py")
    for path in sorted(path for name in names for path in ROOT.glob(name)):
        yield str(path.relative_to(ROOT)), path.read_text()


def test_no_banned_word_is_used() -> None:
    assert [each for file in _read_files() for each in find_banned_words(*file)] == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Share of the memory that stays free.", "Share of"),
        ("One more size:\nwhoever watches it.", "whoever"),
        ("Beside the processor's clock.", "processor"),
        ("freedom = max(1, len(sizes) - 2)", "freedom"),
    ],
)
def test_a_banned_word_is_found(text: str, word: str) -> None:
    line = len(text.splitlines())
    assert list(find_banned_words("some.py", text)) == [f"some.py:{line}: {word}"]


def test_words_that_only_look_banned_are_not_found() -> None:
    text = "sizes that share a round; multiprocessors; 3 degrees of freedom; misfit_penalty"
    assert list(find_banned_words("some.py", text)) == []


def test_what_is_allowed_is_needed() -> None:
    for path, phrase, _ in ALLOWED:
        assert phrase in (ROOT / path).read_text(), path
        assert list(find_banned_words("elsewhere", phrase)) != [], phrase
