"""Demonstrations made to measure for tests of rules."""

import dataclasses
from collections.abc import Sequence

from thor_ray.demonstrations import CheckedClaim, Demonstration, DemonstrationWriter, Source
from thor_ray.trajectory import ExecutionResult, ExecutionStatus

OK, EXCEPTION = ExecutionStatus.OK, ExecutionStatus.EXCEPTION
Blocks = Sequence[tuple[str, ExecutionStatus]]


def demonstration(
    identity: str = "a",
    problem: str = "p",
    blocks: Blocks = (("import math\nprint(math.gcd(96, 60))", OK),),
    answer: str | None = "12",
    status: str = "correct",
    observed: str | None = "12",
    prose: str = "",
) -> Demonstration:
    """One that passes every rule of ours, but for what is asked for; its tokenizer is one token a character."""

    def encode(text: str) -> list[int]:
        return [ord(letter) for letter in text]

    writer = DemonstrationWriter(identity, problem, encode("question\n"), encode, 0)
    for code, outcome in blocks:
        writer.think("We use it.")
        writer.act(code, ExecutionResult(outcome, observed or "Error"))
    writer.think(prose or f"The answer is \\boxed{{{answer}}}.")
    trajectory = dataclasses.replace(writer.finish(), answer=answer, grade_status=status)
    response = "".join(map(chr, trajectory.ids[trajectory.prompt_length : -1]))
    claims = (CheckedClaim("gcd(96, 60)", "12", observed),)
    return Demonstration(trajectory, Source.GENERATOR, prose or writer.prose, claims, (), response)
