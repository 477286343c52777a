"""The one error for input that cannot be used, and how scripts report it."""
import sys

MOST_SIGNS = 2000  # of a message


class InputError(ValueError):
    """A file, row, key or setting cannot be used; the message is one line: what, found, expected, remedy.

    What of it cannot be printed, such as a line end in a video's name, stands there as an escape. The middle of
    one that quotes very much is left out.
    """

    def __init__(self, message):
        if len(message) > MOST_SIGNS:
            message = '%s … %s' % (message[:MOST_SIGNS // 2], message[-MOST_SIGNS // 2:])
        super().__init__(''.join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message))


def one_line(error):
    """What `error` says, without line ends."""
    return ' '.join(str(error).split())


def exit_status(main):
    """Run `main()`; a process's exit status: 0, or 2 after an InputError, reported in one line."""
    try:
        main()
    except InputError as error:
        print('error: %s' % error, file=sys.stderr)
        return 2
    return 0
