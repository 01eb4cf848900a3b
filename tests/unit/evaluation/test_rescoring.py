"""Second opinions are asked for where they are missing, recorded batch by batch, and never mixed or put in place of others."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.evaluations import sample
from tests.support.model_server import RunningServer, running_server
from tests.support.runs import TOKENIZER, trajectory, write_run
from thor_ray.dialogue import PromptFrame
from thor_ray.endpoints import EndpointRefusedError, JsonEndpoint
from thor_ray.errors import UserError
from thor_ray.evaluation import rescoring
from thor_ray.evaluation.rescoring import (
    conversation_of,
    judge_rows,
    recorded_trajectories,
    refuse_mixing,
    score_rows,
    unjudged,
    unscored,
)
from thor_ray.evaluation.reward_models import Conversation
from thor_ray.evaluation.samples import JudgeVerdict
from thor_ray.evaluation.sources import place_of
from thor_ray.grading import GradeStatus
from thor_ray.grading.judge import AnswerJudge
from thor_ray.trajectory import ExecutionStatus


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "requests.jsonl") as running:
        yield running


def judge(server: RunningServer, name: str = "judge") -> AnswerJudge:
    return AnswerJudge(JsonEndpoint(f"{server.url}/v1", tries=1), name)


class Lengths:
    """A reward model that likes long responses."""

    name = "lengths"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        self.batches.append(len(conversations))
        return [float(len(one.response)) for one in conversations]


def test_rows_get_the_scores_of_their_own_responses_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescoring, "BATCH", 2)
    rows = [sample("a", index, trajectory_id=f"t{index}") for index in range(5)]
    texts = {f"t{index}": Conversation("What?", "x" * index) for index in range(5)}
    model = Lengths()
    done = [row for batch in score_rows(rows, texts, model) for row in batch]
    assert [(row.sample_index, row.external_score, row.scored_by) for row in done] == [
        (index, float(index), "lengths") for index in range(5)
    ]
    assert model.batches == [2, 2, 1]
    assert unscored([*done[:3], *rows[3:]], "lengths") == rows[3:]
    assert unscored(done, "another") == done


def test_opinions_of_two_models_are_not_mixed() -> None:
    rows = [sample("a", 0, external_score=1.0, scored_by="old"), sample("a", 1)]
    refuse_mixing(rows, "old", lambda row: row.scored_by)
    with pytest.raises(UserError, match=r"opinions of old, not new\n.*--overwrite"):
        refuse_mixing(rows, "new", lambda row: row.scored_by)


def test_the_judge_is_asked_about_what_the_rules_read_and_did_not_accept(server: RunningServer) -> None:
    rows = [
        sample("a", 0, True),
        sample("a", 1, False, answer="36 or so"),
        sample("a", 2, False, answer="12"),
        sample("a", 3, False, answer="12?"),
        sample("a", 4, False, answer=None, status=GradeStatus.NO_BOX),
        sample("a", 5, False, answer="36\u200b", status=GradeStatus.UNPARSABLE),
        sample("a", 6, False, answer="36", gold=None),
    ]
    left = unjudged(rows, "judge")
    assert [row.sample_index for row in left] == [1, 2, 3]
    left[0] = dataclasses.replace(left[0], trajectory_id="t1")
    [done] = judge_rows(left, {"t1": "What is the gcd?"}, judge(server), concurrency=2)
    assert [row.judge and (row.judge.judge, row.judge.status) for row in done] == [
        ("judge", GradeStatus.CORRECT),
        ("judge", GradeStatus.WRONG),
        ("judge", GradeStatus.ERROR),
    ]
    assert [row.status for row in done] == [GradeStatus.WRONG] * 3, "the rules' verdicts stay"
    assert max(request["in_flight"] for request in server.requests) <= 2
    assert sorted("gcd" in request["body"]["messages"][1]["content"] for request in server.requests) == [0, 0, 1]
    assert unjudged(done, "judge") == done[2:], "where it gave no verdict it may be asked again"


def test_what_was_judged_before_an_error_is_kept(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescoring, "BATCH", 2)
    rows = [sample("a", index, False, answer="36 or so") for index in range(4)]
    batches = judge_rows(rows, {}, judge(server), concurrency=1)
    assert [row.sample_index for row in next(batches)] == [0, 1]
    server.process.kill()
    server.process.wait()
    with pytest.raises(UserError, match="cannot be reached"):
        next(batches)
    with pytest.raises(EndpointRefusedError), running_server(server.log) as other:
        next(judge_rows(rows, {}, judge(other, "missing"), concurrency=1))


def test_a_verdict_is_of_one_judge() -> None:
    seen = sample("a", 0, False, judge=JudgeVerdict(judge="first", status=GradeStatus.WRONG))
    assert unjudged([seen], "first") == []
    assert unjudged([seen], "second") == [seen]


def test_the_text_that_is_judged_is_question_and_response_without_the_prompt_around_them() -> None:
    made = trajectory("t", corrected=1)

    def decode(ids: Sequence[int]) -> str:
        return str(TOKENIZER.decode(list(ids)))

    conversation = conversation_of(made, PromptFrame("Find ", " of 36 and 108.\n"), decode, decode)
    assert conversation.question == "the greatest common divisor"
    assert conversation.response.startswith("The numbers are 36 and 108.")
    assert "```output\n36\n```" in conversation.response
    assert conversation.response.endswith("So the answer is \\boxed{36}.")
    assert conversation_of(made, PromptFrame("", "\n"), decode, decode).question.startswith("Find the")
    assert made.steps[0].result.status is ExecutionStatus.OK
    for frame in (PromptFrame("User:", "\n"), PromptFrame("", "Assistant:")):
        with pytest.raises(UserError, match=r"not one of the recipe's policy\.template"):
            conversation_of(made, frame, decode, decode)


def test_trajectories_are_found_wherever_a_run_keeps_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    found = list(recorded_trajectories(run, {"cold/3", "after/0"}))
    assert sorted(one.id for one in found) == ["after/0", "cold/3"]
    with pytest.raises(UserError, match=r"lacks the trajectories of 1 rows, e\.g\. nobody's"):
        list(recorded_trajectories(run, {"cold/3", "nobody's"}))


def test_a_place_is_a_run_its_rows_and_a_part(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert place_of(str(run)).rows is None
    assert (place_of(f"{run}:evaluate_rl").run, place_of(f"{run}:evaluate_rl").part) == (run, "evaluate_rl")
    rows = run / "evaluation" / "samples.jsonl"
    rows.parent.mkdir()
    rows.touch()
    for name in (run, rows.parent, rows):
        assert (place_of(str(name)).run, place_of(str(name)).rows) == (run, rows)
