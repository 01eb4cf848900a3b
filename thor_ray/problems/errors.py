"""What is wrong with a source of problems."""


class ProblemFileError(ValueError):
    """A file or data set of problems that cannot be used; the message names it, the row and the fault."""
