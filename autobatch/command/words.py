"""How a run ended without a trial, in a user's words."""

from __future__ import annotations

import re

from autobatch.command.run import Cause, Ending, Run
from autobatch.command.template import Template
from autobatch.errors import WorkloadError
from autobatch.probe.trial.oom_texts import OUT_OF_MEMORY

_IGNORES_PYTHONPATH = ("-I", "-E", "-IS", "-SI", "-S")
_LAUNCHERS = ("docker", "podman", "ssh", "sudo", "srun", "sbatch", "kubectl", "singularity")
_MOST_TEXT = 300


def refuse(ending: Ending, run: Run, template: Template, num_steps: int) -> WorkloadError:
    """The error that says why a command cannot be measured.

    Args:
        ending: How its run ended.
        run: The run.
        template: The command.
        num_steps: Steps that were seen to end.
    """
    streams = _streams(run)
    message, hint = ending.message, "see above what it printed"
    if not streams:
        hint = "check that it trains when you start it yourself"
    if ending.cause is Cause.BLIND:
        message = f"nothing can be seen of the training: {message}"
        hint = _hint_at_blindness(template)
    elif ending.cause is Cause.GUARDED:
        hint = "run it from a copy of the folder, or use `files=none` if that file may be lost"
    elif ending.cause is Cause.NO_STEP:
        launcher = next((each for each in template.arguments if each in _LAUNCHERS), None)
        hint = "make what comes before the first step shorter, or raise `first_step_timeout`"
        if launcher is not None:
            hint = f"run autobatch behind {launcher}, where the training itself runs"
    elif ending.cause is Cause.NOT_STARTED:
        hint = "check the command's name"
    elif ending.cause is Cause.EXITED:
        if ending.exit_code == 0 and num_steps:
            message += (
                f" after {num_steps} {'step' if num_steps == 1 else 'steps'}, too few to time"
            )
            hint = "have it train for more steps, with more data or more epochs"
        elif ending.exit_code == 0:
            message += " before a training step was timed"
            message += "" if run.has_torch else ", and nothing has imported PyTorch"
        if "EOFError" in run.tail("err"):
            hint = "give what it asks for as arguments: a trial has no standard input"
        message += blame(run)
    return WorkloadError(message.strip(), hint=hint, user_traceback=streams)


def blame(run: Run) -> str:
    """The last line that a run wrote about its end; with a colon before it, or empty."""
    lines = [line for name in ("err", "out") for line in run.tail(name).splitlines()[-1:]]
    return f": {lines[0].strip()[:_MOST_TEXT]}" if lines and lines[0].strip() else ""


def says_out_of_memory(run: Run) -> bool:
    """Whether a run wrote that memory ran out, where its hooks saw no such error."""
    last = "\n".join(run.tail("err").splitlines()[-5:])
    return re.search(OUT_OF_MEMORY, last, re.IGNORECASE) is not None


def _hint_at_blindness(template: Template) -> str:
    option = next((each for each in template.arguments if each in _IGNORES_PYTHONPATH), None)
    if option is not None:
        return f"start Python without {option}, which makes it ignore PYTHONPATH"
    return "keep what PYTHONPATH has: in a shell script, PYTHONPATH=folder:$PYTHONPATH"


def _streams(run: Run) -> str:
    """The last lines of both streams."""
    return "\n".join(text for text in (run.tail("out"), run.tail("err")) if text)
