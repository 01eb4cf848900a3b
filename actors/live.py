"""What can be seen of a trajectory while it is made, for people who watch; records and learners use what is finished."""

from dataclasses import dataclass

from thor_ray.trajectory import ExecutionResult, Trajectory


@dataclass(frozen=True, slots=True)
class Sampled:
    """New tokens.

    Attributes:
        ids: As the engine sampled them; a few may be taken back where the engine found a stop string late.
        begins: Whether they are the first of a request, so that nothing before them can share a character with them.
        in_action: Whether they belong to a program; otherwise to a thought, whose end may hold the opening fence.
    """

    ids: tuple[int, ...]
    begins: bool
    in_action: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """A program ended.

    Attributes:
        code: The program.
        result: How it ended.
        discarded_tokens: How many of the last tokens self-correction now takes back; 0 where the result is observed.
    """

    code: str
    result: ExecutionResult
    discarded_tokens: int


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more will come."""

    trajectory: Trajectory


LiveEvent = Sampled | Executed | Done
