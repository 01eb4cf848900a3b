"""Errors that the command line prints without a traceback: those that a user can mend (code 2) and lost processes (code 1)."""


class UserError(Exception):
    """Something that is not the program's fault: a file, a setting, a machine that is too small.

    Attributes:
        message: One sentence that names the thing.
        remedy: What to do about it, as an instruction; empty where the message already says so.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class RunExistsError(UserError):
    """A new run would write over an existing one."""


class RunLockedError(UserError):
    """Another living process writes this run."""


class RunNotFoundError(UserError):
    """There is no run directory at this place."""


class RecordFormatError(UserError):
    """A file is no record of ours, or was written by another version of the schema."""


class DiskFullError(UserError):
    """The disk has no room for what has to be written."""


class PreflightError(UserError):
    """The machine or the input cannot carry the work that was asked for; nothing has been started."""


class WorkerError(RuntimeError):
    """A process of a run died, hangs, or failed in what it was asked to do.

    The run stops where it is, and can be resumed. The command line prints it without a traceback and exits with code 1.
    """
