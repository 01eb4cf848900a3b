"""TIRGen on the real sandbox, grader and tokenizer, and with the policy on a real engine as the generator."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from datasets import load_dataset

from actors.codec import TokenizerCodec
from actors.fleet import RolloutFleet
from sandbox import Sandbox
from thor_ray.config import TirgenConfig
from thor_ray.demonstrations import Demonstration, Funnel, Source
from thor_ray.dialogue import render_observation
from thor_ray.errors import UserError
from thor_ray.grading import GraderPool, grade_answer
from thor_ray.problems import FAMILIES, Problem, generate
from thor_ray.records import Stage, read_records
from thor_ray.refine import Refinement, SymbolicRefiner
from thor_ray.runlog import RunLog
from thor_ray.stages.candidates import OnProgress
from thor_ray.stages.generators import FleetGenerator
from thor_ray.stages.rewriting import Rewriter
from thor_ray.stages.tirgen import build_demonstrations, tirgen
from thor_ray.stages.workers import Workers
from thor_ray.tiny import base_model_path
from thor_ray.tirgen.dataset import FOLDER as DATASET
from thor_ray.tirgen.inspection import FOLDER, read_candidates, steps_file
from thor_ray.tirgen.ledger import Ledger
from thor_ray.trajectory import ExecutionStatus, SpanKind
from thor_ray.usage import Usage

WORKED_ONLY = TirgenConfig(attempts=0)


class Scripted:
    """A generator that answers each prompt from a table."""

    usage = Usage()

    def __init__(self, texts: dict[tuple[int, ...], str]) -> None:
        self._texts = texts

    async def sample(self, prompts: Sequence[Sequence[int]], seed: int) -> list[str]:
        return [self._texts[tuple(prompt)] for prompt in prompts]


class Watched:
    """A refiner that remembers what it was shown."""

    def __init__(self, refiner: SymbolicRefiner) -> None:
        self._refiner = refiner
        self.seen: list[str] = []

    async def refine(self, step: str, seed: int) -> Refinement:
        self.seen.append(step)
        return await self._refiner.refine(step, seed)


@pytest.fixture(scope="module")
def codec() -> TokenizerCodec:
    return TokenizerCodec.from_directory(str(base_model_path()))


@pytest.fixture(scope="module")
def rewriter(codec) -> Iterator[Rewriter]:
    with Sandbox(workers=1, preload=("sympy",)) as code_runner, GraderPool() as grader:
        yield Rewriter(SymbolicRefiner(), code_runner, grader, codec, codec.end_of_sequence, "bare", 5.0)


def problems(count: int, families: Sequence[str] = tuple(FAMILIES)) -> list[Problem]:
    return generate(families, [1, 2], count, seed=2, split="train")


@dataclass(frozen=True)
class Built:
    """What TIRGen made, read into memory."""

    demonstrations: tuple[Demonstration, ...]
    funnels: Mapping[str, Funnel]
    figures: Mapping[str, Any]
    steps: tuple[dict[str, Any], ...]


def build(
    rewriter: Rewriter,
    asked: Sequence[Problem],
    config: TirgenConfig,
    texts: dict[str, str] | None = None,
    seed: int = 0,
    max_tokens: int = 512,
    place: Path | None = None,
    on_progress: OnProgress = lambda done, figures, total: None,
) -> Built:
    refiner = SymbolicRefiner(config.flawed_first, config.flawed_again)
    if not isinstance(rewriter.refiner, Watched):
        rewriter = replace(rewriter, refiner=refiner)
    encode_prompt = rewriter.codec.encode_prompt
    generator = Scripted({tuple(encode_prompt("bare", question)): text for question, text in (texts or {}).items()})
    with TemporaryDirectory() as directory, Ledger((place or Path(directory)) / "candidates") as ledger:
        result = asyncio.run(
            build_demonstrations(asked, generator, rewriter, config, max_tokens, seed, ledger, on_progress)
        )
        return Built(tuple(result.demonstrations()), result.funnels, result.figures, tuple(result.steps()))


GCD = Problem("gcd-1", "What is the gcd of 96 and 60?", "12", "test")
COMPOSITE = Problem("composite-1", "What is the number of divisors of the gcd of 96 and 60?", "6", "test")


def test_worked_solutions_become_right_demonstrations_of_every_family(rewriter, codec):
    asked = problems(45)
    config = TirgenConfig(attempts=0, flawed_first=0.6, flawed_again=0.7)
    result = build(rewriter, asked, config)
    assert len(result.demonstrations) == 45
    assert 0.3 < result.figures["failing_share"] < 0.65
    assert result.figures["by_source"] == {"generator": 0, "worked_solution": 45}
    gold = {problem.id: problem.answer for problem in asked}
    for each in result.demonstrations:
        trajectory = each.trajectory
        mask = trajectory.loss_mask()
        texts = {
            kind: [codec.decode(trajectory.ids[s.start : s.end]) for s in trajectory.spans if s.kind is kind]
            for kind in SpanKind
        }
        assert texts[SpanKind.OBSERVATION] == [render_observation(step.result.text) for step in trajectory.steps]
        for span in trajectory.spans:
            assert mask[span.start : span.end].all() == span.kind.written_by_policy
            assert mask[span.start : span.end].any() == span.kind.written_by_policy
        assert all(thought.endswith("\n") for thought in texts[SpanKind.THOUGHT])
        assert trajectory.steps[-1].result.status is ExecutionStatus.OK
        assert trajectory.answer == trajectory.steps[-1].result.text
        assert grade_answer(trajectory.answer, gold[trajectory.problem_id]).reward == 1.0
        assert trajectory.reward == 1.0
        assert trajectory.ids[-1] == codec.end_of_sequence
        assert list(trajectory.ids).count(codec.end_of_sequence) == 1


def test_the_same_seed_gives_the_same_demonstrations_and_another_one_others(rewriter):
    config = TirgenConfig(attempts=0, flawed_first=0.6, flawed_again=0.7)
    first, again, other = (
        [each.trajectory.ids for each in build(rewriter, problems(20), config, seed=seed).demonstrations]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_without_flaws_no_program_fails(rewriter):
    result = build(rewriter, problems(30), WORKED_ONLY)
    assert result.figures["failing_share"] == 0.0
    assert all(each.trajectory.all_calls_succeeded for each in result.demonstrations)
    assert all(claim.agrees for each in result.demonstrations for claim in each.claims)


def test_what_the_program_printed_replaces_a_wrong_result_and_feeds_the_next_claim(rewriter, codec):
    text = (
        "The numbers are 96 and 60, and we want their gcd, then its number of divisors.\n"
        "gcd(96, 60) = 24\ntau(24) = 9\nThe answer is \\boxed{9}."
    )
    result = build(rewriter, [COMPOSITE], TirgenConfig(), {COMPOSITE.question: text})
    (demonstration,) = result.demonstrations
    assert demonstration.source is Source.GENERATOR
    assert [claim.observed for claim in demonstration.claims] == ["12", "6"]
    assert [claim.claimed for claim in demonstration.claims] == ["24", "9"]
    assert "12" in demonstration.trajectory.steps[1].code
    response = codec.decode(demonstration.trajectory.ids[demonstration.trajectory.prompt_length :])
    assert "24" not in response
    assert response.endswith("The answer is \\boxed{6}.")
    assert result.figures["claims_corrected"] == 2


def test_a_rejected_attempt_gives_way_to_the_worked_solution_and_both_are_accounted_for(rewriter):
    asked = problems(2, ["gcd"])
    good = asked[0].solution or ""
    result = build(
        rewriter, asked, TirgenConfig(), {asked[0].question: good, asked[1].question: "I do not know.\ngcd(4, 6) = 2"}
    )
    assert [each.source for each in result.demonstrations] == [Source.GENERATOR, Source.WORKED_SOLUTION]
    funnels = result.funnels
    assert (funnels["generator"].entered, funnels["generator"].kept) == (2, 1)
    assert {outcome.name: outcome.rejected for outcome in funnels["generator"].outcomes if outcome.rejected} == {
        "boxed": 1
    }
    assert (funnels["worked_solution"].entered, funnels["worked_solution"].kept) == (1, 1)
    assert (funnels["selection"].entered, funnels["selection"].kept) == (2, 2)
    openly = TirgenConfig(worked_solutions=False)
    alone = build(rewriter, asked, openly, {asked[0].question: good, asked[1].question: "I do not know."})
    assert alone.figures["demonstrations"] == 1
    assert alone.figures["without_demonstration"] == 1


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The answer is 12.", "boxed"),
        ("We just see it.\nThe answer is \\boxed{12}.", "uses_code"),
        ("```python\ngcd(96, 60) = 12\nThe answer is \\boxed{12}.", "no_stray_fence"),
        ("gcd(96, 66) = 6\nThe answer is \\boxed{6}.", "answer_correct"),
        ("gcd(96, 60) = 12\nThe answer is \\boxed{13}.", "answer_observed"),
        ("multiples follow\nsum of multiples of 0 from 1 to 9 = 3\nThe answer is \\boxed{3}.", "boxed"),
    ],
)
def test_faulty_attempts_fall_at_the_rule_that_names_the_fault(rewriter, text, rule):
    result = build(rewriter, [GCD], TirgenConfig(worked_solutions=False), {GCD.question: text})
    assert result.demonstrations == ()
    rejected = {outcome.name: outcome.rejected for outcome in result.funnels["generator"].outcomes if outcome.rejected}
    assert rejected == {rule: 1}


def test_what_does_not_fit_the_context_is_left_out(rewriter):
    result = build(rewriter, problems(5), WORKED_ONLY, max_tokens=40)
    assert result.demonstrations == ()
    assert {outcome.name: outcome.rejected for outcome in result.funnels["worked_solution"].outcomes}["fits"] == 5


def test_several_attempts_leave_one_demonstration_a_problem(rewriter):
    asked = problems(3)
    texts = {problem.question: problem.solution or "" for problem in asked}
    result = build(rewriter, asked, TirgenConfig(attempts=4), texts)
    assert [each.problem_id for each in result.demonstrations] == [problem.id for problem in asked]
    (dedup,) = result.funnels["selection"].outcomes
    assert (dedup.entered, dedup.rejected) == (12, 9)


def test_problems_that_the_generator_solves_by_itself_can_be_dropped(rewriter):
    asked = problems(2, ["gcd"])
    texts = {asked[0].question: asked[0].solution or "", asked[1].question: "The answer is \\boxed{-1}."}
    result = build(rewriter, asked, TirgenConfig(drop_if_solved=1.0), texts)
    assert [each.problem_id for each in result.demonstrations] == [asked[1].id]
    (hard,) = result.funnels["difficulty"].outcomes
    assert (hard.entered, hard.reasons) == (2, {"solved without tools": 1})
    assert hard.examples == ((asked[0].id, "solved without tools"),)
    assert result.funnels["generator"].entered == 1, "an easy problem was attempted"


def test_a_problem_that_the_generator_solves_too_rarely_stays(rewriter):
    asked = problems(1, ["gcd"])
    sampled = iter([asked[0].solution or "", "No.", "No.", asked[0].solution or "", asked[0].solution or ""])

    class Changing:
        usage = Usage()

        async def sample(self, prompts: Sequence[Sequence[int]], seed: int) -> list[str]:
            return [next(sampled)]

    config = TirgenConfig(drop_if_solved=0.5, difficulty_samples=4)
    with TemporaryDirectory() as place, Ledger(Path(place) / "candidates") as ledger:
        stricter, looser = (
            asyncio.run(build_demonstrations(asked, Changing(), rewriter, each, 512, 0, ledger))
            for each in (config, config.model_copy(update={"drop_if_solved": 0.75}))
        )
    assert len(stricter.kept) == 0, "half of four samples are right"
    assert len(looser.kept) == 1, "the samples were taken once, and are gone by again"


class Interrupted(Exception):
    """What a test stops a run with."""


def test_stopped_and_gone_on_with_it_makes_what_it_would_have_made(rewriter, tmp_path):
    asked = problems(12)
    texts = {each.question: (each.solution or "") if index % 3 else "No." for index, each in enumerate(asked)}
    config = TirgenConfig(attempts=2, flawed_first=0.5, keep_by_calls={1: 0.5})
    whole = build(rewriter, asked, config, texts)

    def stop(done: int, figures: Mapping[str, Any], total: int) -> None:
        if done == 9:
            raise Interrupted

    for _ in range(2):
        with pytest.raises(Interrupted):
            build(rewriter, asked, config, texts, place=tmp_path, on_progress=stop)
    heard: list[tuple[int, int]] = []
    resumed = build(
        rewriter,
        asked,
        config,
        texts,
        place=tmp_path,
        on_progress=lambda done, figures, total: heard.append((done, total)),
    )
    assert heard[-1] == (10, 10), "24 attempts and 4 worked solutions, 18 of which were done already"
    assert [each.trajectory.ids for each in resumed.demonstrations] == [
        each.trajectory.ids for each in whole.demonstrations
    ]
    assert resumed.steps == whole.steps
    assert resumed.funnels == whole.funnels
    timed = "sandbox_seconds", "sandbox_seconds_per_demonstration"
    assert {name: value for name, value in resumed.figures.items() if name not in timed} == {
        name: value for name, value in whole.figures.items() if name not in timed
    }


def test_calls_are_balanced_as_asked(rewriter):
    balanced = TirgenConfig(attempts=0, keep_by_calls={1: 0.5})
    result = build(rewriter, problems(20, ["gcd", "composite"]), balanced)
    assert result.figures["by_calls"] == {"1": 5, "2": 10}


def test_the_refiner_sees_steps_but_neither_the_problem_nor_the_other_steps(rewriter):
    asked = problems(15)
    watched = Watched(SymbolicRefiner())
    build(replace(rewriter, refiner=watched), asked, WORKED_ONLY)
    lines = {line for problem in asked for line in (problem.solution or "").split("\n")}
    assert set(watched.seen) == lines, "each step is one line, word for word"
    assert not any(problem.question in step for problem in asked for step in watched.seen)


def test_the_policy_on_a_real_engine_writes_attempts(rollout_actor, tiny_policies, recipe):
    codec = TokenizerCodec.from_directory(str(tiny_policies.taught))
    prompts = [codec.encode_prompt("bare", f"What is {first} + 5?") for first in range(2, 12)]
    generator = FleetGenerator([rollout_actor], TirgenConfig(step_tokens=40), recipe.policy.max_context, codec)

    async def sample(seeds: Sequence[int]) -> list[list[str]]:
        return [await generator.sample(prompts, seed) for seed in seeds]

    first, again, other = asyncio.run(sample([1, 1, 2]))
    assert len(first) == len(prompts)
    assert all(first)
    assert first == again
    assert first != other
    assert generator.usage.calls == 3
    assert generator.usage.completion_tokens >= 30


def test_the_stage_records_what_it_kept_and_reports_what_it_did(rollout_actor, tiny_policies, recipe, tmp_path):
    workers = Workers(RolloutFleet([rollout_actor]), TokenizerCodec.from_directory(str(tiny_policies.taught)))
    asked = problems(12)
    heard = []
    with RunLog.create(tmp_path / "run", recipe, "thor tirgen") as log:
        with log.stage(Stage.TIRGEN) as result:
            result.update(tirgen(workers, asked, recipe, log, lambda *progress: heard.append(progress)))
        records = list(read_records(log.record_files(Stage.TIRGEN)))
    assert {record.trajectory.problem_id for record in records} == {problem.id for problem in asked}
    assert [record.gold_answer for record in records] == [problem.answer for problem in asked]
    # A policy that was taught to write programs makes no claims by hand, so its attempts cannot be rewritten.
    assert result["by_source"] == {"generator": 0, "worked_solution": 12}
    assert result["funnels"]["generator"]["entered"] == 12
    assert [done for done, _, _ in heard] == list(range(1, 25))
    candidates = list(read_candidates(steps_file(tmp_path / "run")))
    assert len(candidates) == 24, "the attempts that were rejected are there, too"
    assert {each.id for each in candidates if each.rejected is None} == {each.trajectory.id for each in records}
    assert (heard[-1][1]["kept"], heard[-1][2]) == (12, 24)
    rows = load_dataset(str(tmp_path / "run" / FOLDER / DATASET), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["id"] == [record.trajectory.id for record in records]
    assert rows[0]["messages"][1]["content"] == "".join(piece["text"] for piece in rows[0]["segments"]).removesuffix(
        "<eos>"
    )


def test_a_set_without_demonstrations_is_refused(rollout_actor, tiny_policies, recipe, tmp_path):
    workers = Workers(RolloutFleet([rollout_actor]), TokenizerCodec.from_directory(str(tiny_policies.taught)))
    strict = recipe.model_copy(update={"tirgen": TirgenConfig(worked_solutions=False)})
    with (
        RunLog.create(tmp_path / "run", strict, "thor tirgen") as log,
        pytest.raises(UserError, match="none of 2 problems gave a demonstration: generator 2 in, rejected by"),
    ):
        tirgen(workers, problems(2), strict, log, lambda done, figures, total: None)
