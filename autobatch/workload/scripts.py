"""Files that train when they are run, and have nothing to take while they are imported.

Such a script is not run here but as the command that it is: ``autobatch probe -- python ...``.
"""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autobatch.workload.files import Target

_BATCH_OPTION = re.compile(r"--(?:[a-z]+[-_])*(?:batch[-_]?size|bs)", re.IGNORECASE)
_PARSERS = ("parse_args", "parse_known_args")


def advise_on_script(target: Target) -> str:
    """How to search with a script, by running it as its user does.

    Args:
        target: A file, which exists.

    Returns:
        A hint, with the script's own option for the batch size; empty if the target is no script:
        it has no main guard, and reads no command line.
    """
    command = _find_command(target)
    if not command:
        return ""
    return (
        f"let it train as it does, {command}, or call autobatch.find_batch_size(model, "
        "train_loader, loss, optimizer) in it"
    )


def _find_command(target: Target) -> str:
    if not target.is_file:
        return ""
    try:
        tree = ast.parse(Path(target.location).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ""
    nodes = list(ast.walk(tree))
    if not any(_is_main_guard(node) or _reads_command_line(node) for node in nodes):
        return ""
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    options = [text for text in texts if isinstance(text, str) and _BATCH_OPTION.fullmatch(text)]
    command = f"autobatch probe -- python {shlex.quote(target.location)}"
    return f"{command} {options[0]} {{batch_size}}" if options else command


def _is_main_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "'__main__'" in ast.unparse(node.test)


def _reads_command_line(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in _PARSERS
