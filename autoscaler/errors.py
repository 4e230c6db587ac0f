"""The errors that a user can mend."""


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one sentence or one for each problem."""

    exit_code = 1


class InputError(UserError):
    """It is in something that was written down: a configuration, a scenario, a trace."""

    exit_code = 78  # EX_CONFIG of sysexits.h
