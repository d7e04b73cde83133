"""The command line: parse, call the library, report. The decisions are elsewhere.

Exit status: 0 an answer, or requirements met; 1 measured, and nothing fits or a requirement is not
met; 2 could not measure; 130 interrupted. A reader that leaves early (``| head``) changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from autobatch._version import __version__
from autobatch.check.cli import check
from autobatch.cli.devices import devices
from autobatch.cli.probe import probe
from autobatch.cli.show import show
from autobatch.compare.cli import compare
from autobatch.errors import (
    AutobatchError,
    CheckInterrupted,
    NothingFitsError,
    SearchInterrupted,
    WorkloadError,
)
from autobatch.planning.cli import plan
from autobatch.shell.flags import to_flags
from autobatch.shell.options import HELP_SETTINGS
from autobatch.shell.streams import abandon, make_console, until_its_reader_leaves
from autobatch.tuning.cli import tune

EXIT_ANSWER = 0
EXIT_NOT_MET = 1
EXIT_NOT_MEASURED = 2
EXIT_INTERRUPTED = 130


@click.group(
    context_settings=HELP_SETTINGS,
    help="""Say which batch size to train a PyTorch model with on this hardware, by running it.

    \b
    Examples:
      autobatch probe model.py
      autobatch probe model.py --goal memory --memory-limit 8GiB --json
      autobatch check model.py --batch-size 64 --max-memory 10GiB && python train.py
    """,
)
@click.version_option(__version__, prog_name="autobatch")
def command() -> None:
    """The group that holds all commands."""


command.add_command(check)
command.add_command(compare)
command.add_command(devices)
command.add_command(plan)
command.add_command(probe)
command.add_command(show)
command.add_command(tune)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; those of this process if left out.

    Returns:
        The exit status.
    """
    try:
        status = command.main(arguments, prog_name="autobatch", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort as abort:  # what click makes of every KeyboardInterrupt
        with until_its_reader_leaves(sys.stderr):
            _report_interrupt(abort.__cause__)
        return EXIT_INTERRUPTED
    except AutobatchError as error:
        return _report_error(error)
    except click.ClickException as error:
        return _report_error(AutobatchError(error.format_message(), hint=_usage_hint(error)))
    except (BrokenPipeError, SystemExit):  # click exits where nobody reads the help
        abandon(sys.stdout)
        return EXIT_ANSWER
    return status if isinstance(status, int) else EXIT_ANSWER


def _report_interrupt(interrupt: BaseException | None) -> None:
    from autobatch.check.report import render_check
    from autobatch.reporting import render

    console = make_console(to_stderr=True)
    if isinstance(interrupt, CheckInterrupted) and interrupt.report.verdicts:
        console.print("Interrupted; what was decided so far:\n")
        render_check(interrupt.report, console)
    elif isinstance(interrupt, SearchInterrupted):
        console.print("Interrupted; the best answer so far:\n")
        render(interrupt.finding, console)
    else:
        console.print("Interrupted before any batch size had run")


def _report_error(error: AutobatchError) -> int:
    from autobatch.reporting import render_error

    with until_its_reader_leaves(sys.stderr):
        render_error(_with_flags(error), make_console(to_stderr=True))
    return EXIT_NOT_MET if isinstance(error, NothingFitsError) else EXIT_NOT_MEASURED


def _with_flags(error: AutobatchError) -> AutobatchError:
    """The error, with the options written as flags instead of keywords."""
    parameters = [each for one in command.commands.values() for each in one.params]
    flags = {flag for each in parameters for flag in each.opts}
    if not isinstance(error, WorkloadError):  # its message may be text from the user's own code
        error.args = (to_flags(str(error), flags), *error.args[1:])
    error.hint = to_flags(error.hint, flags)
    return error


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "autobatch"
    return f"run `{path} --help` for the commands and options"
