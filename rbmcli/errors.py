"""The one exception the tool turns into a line for its user."""


class RbmError(Exception):
    """Something the user can mend.

    The message is one line that says what is wrong, where, and what to do. The command line
    prints it on stderr and exits with status 1; no traceback is shown.
    """
