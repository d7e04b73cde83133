"""``python -m autobatch``, and what the command ``autobatch`` calls."""

import signal
import sys


def main() -> None:
    """Run the command line and exit with its status.

    SIGTERM, which schedulers send some time before they kill, ends a search as Ctrl-C does:
    with the best answer so far.
    """
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from autobatch.cli import run

        status = run()
        # The result is out: nothing is left to interrupt.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:  # while it was starting, or a second time while it was ending
        print("Interrupted", file=sys.stderr)
        status = 130
    # Imports run exec() by the hundred. CPython remembers an interruption that passed through
    # one, though it was handled, and would end by SIGINT in place of exiting; the next forgets.
    exec("")
    sys.exit(status)


if __name__ == "__main__":
    main()
