"""The errors that a user can fix."""


class UserError(Exception):
    """The message has a line for each problem: the problem, its place, and how to fix it."""

    exit_code = 1


class InputError(UserError):
    """An error in a file or a variable: a configuration, a scenario, a trace."""

    exit_code = 78  # EX_CONFIG of sysexits.h
