"""A written demonstration has the spans, tokens and masks that a rollout of the same text would have."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.demonstrations import CheckedClaim, DemonstrationWriter
from thor_ray.dialogue import extract_code, render_action, render_observation
from thor_ray.refine import find_claims
from thor_ray.trajectory import NO_VERSION, ExecutionResult, ExecutionStatus, SpanKind

END = 0


def encode(text: str) -> list[int]:
    return [ord(character) + 1 for character in text]


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(token - 1) for token in ids if token != END)


def printed(text: str) -> ExecutionResult:
    return ExecutionResult(ExecutionStatus.OK, text, wall_seconds=0.5)


FAILED = ExecutionResult(ExecutionStatus.EXCEPTION, "NameError: name 'gcd' is not defined", "NameError", 0.25)


def writer() -> DemonstrationWriter:
    return DemonstrationWriter("t", "p", encode("What is the gcd?\n"), encode, END)


def claim(text: str):
    (found,) = find_claims(text)
    return found


def test_a_failed_and_a_right_attempt_then_the_answer():
    writing = writer()
    writing.think("The numbers are 96 and 60.")
    writing.think("We use gcd.\n")
    writing.act("print(gcd(96, 60))", FAILED)
    writing.think("That failed. We use math.gcd.\n")
    writing.act("import math\nprint(math.gcd(96, 60))", printed("12"))
    writing.think("The answer is \\boxed{12}.")
    trajectory = writing.finish()

    assert [(span.kind, decode(trajectory.ids[span.start : span.end])) for span in trajectory.spans] == [
        (SpanKind.PROMPT, "What is the gcd?\n"),
        (SpanKind.THOUGHT, "The numbers are 96 and 60.\nWe use gcd.\n"),
        (SpanKind.ACTION, render_action("print(gcd(96, 60))")),
        (SpanKind.OBSERVATION, render_observation(FAILED.text)),
        (SpanKind.THOUGHT, "That failed. We use math.gcd.\n"),
        (SpanKind.ACTION, render_action("import math\nprint(math.gcd(96, 60))")),
        (SpanKind.OBSERVATION, render_observation("12")),
        (SpanKind.ANSWER, "The answer is \\boxed{12}."),
    ]
    assert trajectory.ids[-1] == END
    assert [step.result.status for step in trajectory.steps] == [ExecutionStatus.EXCEPTION, ExecutionStatus.OK]
    assert (trajectory.cost.sandbox_calls, trajectory.cost.failed_calls) == (2, 1)
    assert trajectory.cost.tool_seconds == 0.75


lines = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30)
blocks = st.tuples(lines, lines.filter(lambda code: "```" not in code), lines.filter(lambda text: "```" not in text))


@given(st.lists(blocks, max_size=4), lines)
def test_observations_are_the_injected_strings_and_only_they_are_masked(written, answer):
    writing = writer()
    for thought, code, output in written:
        writing.think(thought)
        writing.act(code, printed(output))
    writing.think(answer)
    trajectory = writing.finish()

    mask = trajectory.loss_mask()
    observations = [span for span in trajectory.spans if span.kind is SpanKind.OBSERVATION]
    injected = [render_observation(output) for _, _, output in written]
    assert [decode(trajectory.ids[span.start : span.end]) for span in observations] == injected
    assert not mask[: trajectory.prompt_length].any()
    assert int((~mask[trajectory.prompt_length :]).sum()) == sum(map(len, injected))
    assert [extract_code(decode(trajectory.ids[step.action.start : step.action.end])) for step in trajectory.steps] == [
        code for _, code, _ in written
    ]
    assert (trajectory.versions == NO_VERSION).all()
    assert not np.any(trajectory.log_probs)
    borders = [0, *(span.end for span in trajectory.spans)]
    assert [span.start for span in trajectory.spans] == borders[:-1]
    assert borders[-1] == len(trajectory.ids)


def test_thoughts_end_with_a_newline_so_that_a_fence_starts_a_line():
    writing = writer()
    writing.think("one")
    writing.think("")
    writing.think("two\n")
    writing.act("print(1)", printed("1"))
    trajectory = writing.finish()
    thought = trajectory.steps[0].thought
    assert decode(trajectory.ids[thought.start : thought.end]) == "one\ntwo\n"


def test_a_refuted_result_is_replaced_wherever_it_stands_as_a_number():
    writing = writer()
    writing.act("", printed("12"))
    writing.settle(claim("gcd(96, 60) = 6"), printed("12"))
    assert writing.with_observed_values("tau(6) = 4, not 66, 6.5, 1,6 or x6; \\boxed{6}.") == (
        "tau(12) = 4, not 66, 6.5, 1,6 or x6; \\boxed{12}."
    )
    assert writing.claims == (CheckedClaim("gcd(96, 60)", "6", "12"),)
    assert not writing.claims[0].agrees


def test_later_results_are_replaced_beside_earlier_ones_and_not_in_turn():
    writing = writer()
    writing.settle(claim("gcd(96, 60) = 6"), printed("12"))
    writing.settle(claim("tau(12) = 12"), printed("6"))
    assert writing.with_observed_values("6 and 12") == "12 and 6"


@pytest.mark.parametrize("result", [printed("6"), printed("{x: 3}"), FAILED])
def test_what_a_program_did_not_refute_with_a_number_stays(result):
    writing = writer()
    writing.settle(claim("gcd(96, 60) = 6"), result)
    assert writing.with_observed_values("\\boxed{6}") == "\\boxed{6}"
