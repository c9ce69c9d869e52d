"""The one exception a user's mistake ends in."""


class UserError(Exception):
    """Something the user can mend. The message is one line: what was wrong, where, what to do."""
