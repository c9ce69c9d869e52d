"""The exception for errors that the user can correct."""


class UserError(Exception):
    """An error that the user can correct. The message is one line: what is wrong, where, and what to do."""
