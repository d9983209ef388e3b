"""The command line.

Loading it takes a moment, and Ctrl-C ends that without a word.
"""

import signal


def begin() -> None:
    """Run the command line, and end the process with its exit code."""
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sidetask.cli.main import main  # noqa: PLC0415 - it is this that takes a moment

    if is_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
