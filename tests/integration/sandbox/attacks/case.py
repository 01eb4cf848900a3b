"""What an attack is: a program, and the ways in which it may end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sandbox import Status

QUICK_SECONDS = 10.0
"""For programs that end by themselves, on however loaded a machine."""
HANG_SECONDS = 0.3
"""For programs that do not."""


class Mode(StrEnum):
    """How a program is run."""

    ONE_SHOT = "one-shot"
    SESSION = "session"


class Proof(StrEnum):
    """What is known of an attempt that the sandbox should deny."""

    SHOWN = "shown"
    """It gets through in an interpreter without a sandbox, which a test sees: so being denied says something."""
    UNPROVEN = "unproven"
    """It would do harm, or needs privileges or a kernel that may be missing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way in which a case may end; None stands for any value.

    Of what the program wrote only stdout is looked at: the traceback on stderr repeats the attack's own source.
    """

    status: Status
    stdout: str | None = None
    exc_types: tuple[str, ...] | None = None
    exit_code: int | None = None
    signal: int | None = None

    def matches(self, result: Mapping[str, Any]) -> bool:
        """Whether a result, as a dictionary of its fields, is this outcome."""
        expected = {"stdout": self.stdout, "exit_code": self.exit_code, "signal": self.signal}
        return (
            result["status"] == self.status
            and all(value is None or result[name] == value for name, value in expected.items())
            and (self.exc_types is None or result["exc_type"] in self.exc_types)
        )

    def __str__(self) -> str:
        details = (self.stdout, self.exc_types, self.exit_code, self.signal)
        return " ".join([self.status, *(repr(each)[:200] for each in details if each is not None)])


ANY_END = tuple(Outcome(status) for status in Status if status not in {Status.SANDBOX_ERROR, Status.CANCELLED})
"""For programs that wreck their own process: only the sandbox's health counts. Its own failure is never fine."""


@dataclass(frozen=True, slots=True)
class Case:
    """A program and the ways in which it may end.

    Attributes:
        number: the case's number in the specification of the sandbox; "+" for those that it does not list.
        name: what is tried; unique together with the number.
        program: source text; `«name»` stands for the `repr` of one of `Arena.targets`.
        accepts: the outcomes that are fine.
        in_session: more that are fine where the program is a step of a session.
        timeout: wall-clock seconds granted.
        repeats: how often it is run, for what only the next program would notice.
        modes: how it is run.
        needs: third-party modules that it imports.
        proof: for an attempt that is denied; None for other programs.
        machine: the only processor that it runs on; None for any.
    """

    number: str
    name: str
    program: str
    accepts: tuple[Outcome, ...]
    in_session: tuple[Outcome, ...] = ()
    timeout: float = QUICK_SECONDS
    repeats: int = 1
    modes: tuple[Mode, ...] = tuple(Mode)
    needs: tuple[str, ...] = ()
    proof: Proof | None = None
    machine: str | None = None

    def accepted(self, mode: Mode) -> tuple[Outcome, ...]:
        """The outcomes that are fine in a mode."""
        return (*self.accepts, *self.in_session) if mode is Mode.SESSION else self.accepts

    @property
    def id(self) -> str:
        """Number and name."""
        return f"{self.number} {self.name}"
