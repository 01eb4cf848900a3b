"""Demonstrations and what became of their steps, as rows of JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from thor_ray.demonstrations import Demonstration, RefinedStep
from thor_ray.refine import Verdict

Decode = Callable[[Sequence[int]], str]
"""Text of token ids, by the tokenizer that wrote them."""


MESSAGE_FIELDS: Final = ("id", "problem_id", "source", "answer", "calls", "messages")
"""Of a row of ``message_row``."""


def message_row(demonstration: Demonstration, question: str, decode: Decode) -> dict[str, Any]:
    """A demonstration as ``messages`` of a user and an assistant, the form that other trainers take.

    The user's message is the question alone, without a template; the assistant's is the whole response with its programs
    and outputs, without the token that ends the turn.
    """
    trajectory = demonstration.trajectory
    response = decode(trajectory.ids[trajectory.prompt_length : -1])
    return {
        "id": trajectory.id,
        "problem_id": demonstration.problem_id,
        "source": str(demonstration.source),
        "answer": trajectory.answer,
        "calls": trajectory.calls,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": response}],
    }


def sharegpt_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``message_row`` with ``conversations`` of ``human`` and ``gpt`` in place of the messages."""
    speakers = {"user": "human", "assistant": "gpt"}
    turns = [{"from": speakers[turn["role"]], "value": turn["content"]} for turn in row["messages"]]
    return {**{name: value for name, value in row.items() if name != "messages"}, "conversations": turns}


def step_rows(demonstration: Demonstration, rejected: str | None) -> list[dict[str, Any]]:
    """What became of each step of a demonstration, kept or not; one row with an empty text where it has no step at all.

    Args:
        demonstration: With its steps.
        rejected: Rule and reason, ``answer_correct: wrong``; ``None`` if it was kept.
    """
    return [
        {
            "id": demonstration.trajectory.id,
            "problem_id": demonstration.problem_id,
            "rejected": rejected,
            "step": step.index,
            "text": step.text,
            "verdict": str(step.verdict),
            "verdict_reason": step.reason,
            "origin": step.origin,
            "reasoning": step.reasoning,
            "kind": str(step.kind),
            "blocks": [
                {"code": block.code, "status": str(block.status), "output": block.output} for block in step.blocks
            ],
            "claim": None
            if step.claim is None
            else {
                "expression": step.claim.expression,
                "claimed": step.claim.claimed,
                "observed": step.claim.observed,
                "agreement": str(step.claim.agreement),
            },
            "conclusion": step.conclusion,
        }
        for step in demonstration.steps or (RefinedStep(0, "", Verdict.NO_CLAIM, ""),)
    ]
