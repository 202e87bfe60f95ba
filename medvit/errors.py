"""The exception for errors that a user can fix, and the reason that another exception gives."""


class MedvitError(Exception):
    """An error that the user can fix; the text says what happened, why, and what to do.

    Commands print it and exit with status 1, the app displays it as a notice. Every other exception is a bug.
    """


def reason(error: Exception) -> str:
    """What went wrong: the first line of the text, of an OSError without the path that this names."""
    return getattr(error, "strerror", None) or first_line(error)


def first_line(error: Exception) -> str:
    """The first line of an exception's text, or its type where it has none; 300 characters at most."""
    lines = str(error).strip().splitlines()
    return lines[0][:300].rstrip(" .") if lines else type(error).__name__
