"""Where an exception passes: around a block, or at the end of the process."""

from __future__ import annotations

import sys
from contextlib import ContextDecorator
from types import TracebackType

from autobatch.errors import cause_of
from autobatch.guard.explain import TITLE, explain


class explain_oom(ContextDecorator):  # noqa: N801 - used like a function, as contextlib's are
    """Explain an out-of-memory error that leaves the block; it passes through unchanged.

    The explanation is a note of the exception, which a traceback ends with. Python 3.10 has no
    notes: there it goes to standard error.

    Examples:
        >>> with autobatch.explain_oom():
        ...     train(model, loader)

        As a decorator, ``@autobatch.explain_oom()``; for a whole script, in one line at its top:

        >>> autobatch.explain_oom().install()
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            _add_explanation(error)

    def install(self) -> None:
        """Explain what would end the process, through ``sys.excepthook``."""
        before = sys.excepthook

        def hook(
            kind: type[BaseException], error: BaseException, traceback: TracebackType | None
        ) -> None:
            _add_explanation(error)
            before(kind, error, traceback)

        sys.excepthook = hook


def _add_explanation(error: BaseException) -> None:
    if any(TITLE in note for note in getattr(error, "__notes__", ())):  # by a block inside
        return
    try:
        text = explain(error)
    except Exception as failure:  # the user's error counts, and memory is short
        text = f"{TITLE}: no explanation, {cause_of(failure)}"
    if text is None:
        return
    if hasattr(error, "add_note"):  # Python 3.11 and later
        error.add_note(text)
    else:
        print(text, file=sys.stderr)
