"""The one exception for what a user can mend."""


class MedvitError(Exception):
    """Something the user can put right; the text says what happened, why, and what to do.

    Commands print it and exit with status 1, the app shows it as a notice. Every other exception is a bug.
    """
