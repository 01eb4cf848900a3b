"""Several solutions of one question: choosing one without knowing the answer, and showing which, among which, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from thor_ray.evaluation.answers import Equivalent, answer_classes
from thor_ray.evaluation.selection import Candidate, Criterion, Decision, Method, NoCode, decide
from thor_ray.segments import Decoder, printable
from thor_ray.solutions import solution_fields
from thor_ray.trajectory import ExecutionStatus, Trajectory

ANSWER_WIDTH: Final = 40
"""Characters of an answer that a table shows."""

_BY: Final = {
    Criterion.CODE_SUCCESS: "the highest share of successful code",
    Criterion.REWARD_MODEL: "the reward model's highest score",
    Criterion.MAJORITY: "the most frequent answer",
    Criterion.ORDER: "the first",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several solutions.

    Attributes:
        method: How it was chosen.
        solutions: All of them.
        candidates: What the choice saw of each.
        decision: Which, and why.
    """

    method: Method
    solutions: tuple[Trajectory, ...]
    candidates: tuple[Candidate, ...]
    decision: Decision

    @property
    def chosen(self) -> Trajectory:
        """The chosen solution."""
        return self.solutions[self.decision.chosen.index]

    @property
    def why(self) -> str:
        """How the choice came about, in words; candidates are counted from 1."""
        if not self.decision.rounds:
            return "there is no other candidate"
        parts = []
        for compared in self.decision.rounds:
            numbers = ", ".join(str(index + 1) for index in compared.left)
            parts.append(f"{_BY[compared.criterion]}: {numbers}")
        return "; of these ".join(parts)


def choose_solution(
    solutions: Sequence[Trajectory],
    method: Method,
    equivalent: Equivalent,
    *,
    scores: Sequence[float] | None = None,
    no_code: NoCode = NoCode.AFTER_PERFECT,
) -> Choice:
    """Chooses one of several solutions of one question (spec F.5).

    Args:
        solutions: At least one.
        method: How.
        equivalent: Which answers are the same, for votes.
        scores: A reward model's score of each, for methods that use them.
        no_code: Where solutions without executed code rank.

    Raises:
        ValueError: there is no solution, or the method needs scores and there are none.
    """
    if method.needs_score and scores is None:
        raise ValueError(f"{method} needs the scores of a reward model")
    classes = answer_classes([solution.answer for solution in solutions], equivalent)
    candidates = tuple(
        Candidate(
            index=index,
            answer_class=classes[index],
            executed=sum(step.result.status is not ExecutionStatus.INFRA_ERROR for step in solution.own_steps),
            failed=sum(step.result.status.failed for step in solution.own_steps),
            external_score=None if scores is None else scores[index],
        )
        for index, solution in enumerate(solutions)
    )
    return Choice(method, tuple(solutions), candidates, decide(candidates, method, no_code))


def candidate_line(index: int, solution: Trajectory) -> str:
    """What people see of a candidate as soon as it is there."""
    return (
        f"candidate {index + 1}: answer {_shown(solution)}; {solution.successful_calls} of {solution.calls} "
        f"programs ran; {solution.cost.kept_tokens} tokens"
    )


def print_choice(choice: Choice, console: Console) -> None:
    """Prints a table of all candidates, the chosen one marked, and why it was chosen."""
    scored = any(candidate.external_score is not None for candidate in choice.candidates)
    headings = ("candidate", "answer", "calls", "passed", "tokens", *(["score"] if scored else []), "chosen")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("answer", "chosen") else "right")
    for candidate, solution in zip(choice.candidates, choice.solutions, strict=True):
        executed, failed = candidate.executed or 0, candidate.failed or 0
        chosen = candidate is choice.decision.chosen
        score = "" if candidate.external_score is None else f"{candidate.external_score:.4g}"
        cells = (
            str(candidate.index + 1),
            _shown(solution),
            str(executed),
            str(executed - failed),
            str(solution.cost.kept_tokens),
            *([score] if scored else []),
            "◀" if chosen else "",
        )
        table.add_row(*map(Text, cells), style="bold" if chosen else None)
    console.print(table)
    console.print(Text(f"chosen by {str(choice.method).replace('_', ' ')}: {choice.why}", "dim"), soft_wrap=True)


def choice_fields(choice: Choice, decode: Decoder) -> dict[str, Any]:
    """All candidates and the choice as plain JSON values; indices count from 0."""
    return {
        "solutions": [
            solution_fields(solution, decode)
            | {
                "index": candidate.index,
                "calls": candidate.executed,
                "passed": (candidate.executed or 0) - (candidate.failed or 0),
                "score": candidate.external_score,
                "answer_class": candidate.answer_class,
                "chosen": candidate is choice.decision.chosen,
            }
            for candidate, solution in zip(choice.candidates, choice.solutions, strict=True)
        ],
        "choice": {
            "method": str(choice.method),
            "index": choice.decision.chosen.index,
            "answer": choice.chosen.answer,
            "rounds": [{"by": str(one.criterion), "left": list(one.left)} for one in choice.decision.rounds],
            "why": choice.why,
        },
    }


def _shown(solution: Trajectory) -> str:
    answer = " ".join(printable(solution.answer or "none").split())
    return answer if len(answer) <= ANSWER_WIDTH else f"{answer[: ANSWER_WIDTH - 1]}…"
