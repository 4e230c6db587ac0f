"""The errors that a user can fix."""


class UserError(Exception):
    """A sentence for each problem: the problem, its place, and how to fix it."""

    exit_code = 1

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.sentences = sentences

    def __str__(self) -> str:
        """The sentences, one on each line."""
        return "\n".join(self.sentences)


class InputError(UserError):
    """An error in a file or a variable: a configuration, a scenario, a trace."""

    exit_code = 78  # EX_CONFIG of sysexits.h


class UsageError(UserError):
    """An option of the command line is invalid."""

    exit_code = 2
