"""The exception for errors that a user can fix."""


class MedvitError(Exception):
    """An error that the user can fix; the text says what happened, why, and what to do.

    Commands print it and exit with status 1, the app displays it as a notice. Every other exception is a bug.
    """
