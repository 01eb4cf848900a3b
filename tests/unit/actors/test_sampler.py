"""Groups through scripted tokens, a real sandbox and a real grader: rewards, budgets, deadlines, independence."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import pytest

import sandbox
from actors.codec import TokenizerCodec
from actors.generation import Generation, GenerationRequest, Interruption, OnTokens, derive_seed
from actors.live import Done, Sampled
from actors.sampler import RolloutSettings, TrajectorySampler, execution_reward
from actors.scorers import AnswerScorer, Scored, Scorer, ScoringTools
from actors.scripted import ScriptedEngine
from thor_ray.config import CorrectionConfig, SamplingConfig
from thor_ray.dialogue import render_action, render_observation
from thor_ray.grading import EXACT, Grade, GraderPool, GradeStatus, GradingPolicy
from thor_ray.problems.problem import Problem
from thor_ray.trajectory import ExecutionResult, ExecutionStatus, FinishReason, Group, GroupKind, Trajectory

SETTINGS = RolloutSettings(SamplingConfig(max_new_tokens=600), "bare", max_context=2000)

Writer = Callable[[str], str]
"""A model as a function of all text so far; it writes until something stops it."""


def problem(name: str, answer: str = "7") -> Problem:
    return Problem(name, f"Problem {name}.", answer, "test")


def act(thought: str, code: str) -> str:
    return f"{thought}\n{render_action(code)}"


def rounds_in(text: str) -> int:
    return text.count("```output\n")


@pytest.fixture(scope="module")
def grader() -> Iterator[GraderPool]:
    with GraderPool() as pool:
        yield pool


class Bench:
    """A sampler on a scripted engine, everything else real unless replaced."""

    def __init__(self, codec: TokenizerCodec, end_id: int, box: sandbox.Sandbox, grader: GraderPool) -> None:
        self.codec, self.end_id, self.box, self.grader = codec, end_id, box, grader

    def engine(self, write: Writer, seconds: float = 0.0) -> ScriptedEngine:
        """An unfinished action is continued where the text stands, whatever stopped it there."""

        def script(request: GenerationRequest) -> list[int]:
            text = self.codec.decode(request.ids)
            opened = re.search(r"```python\n(?:(?!\n```).)*\Z", text, re.DOTALL)
            whole = write(text[: opened.start()] if opened else text)
            if opened:
                whole = whole[whole.index(opened.group()) + len(opened.group()) :]
            return [*self.codec.encode(whole), self.end_id]

        return ScriptedEngine(self.codec, self.end_id, script, seconds)

    def sampler(self, write: Writer) -> TrajectorySampler:
        return TrajectorySampler(self.engine(write), self.codec, self.box, self.grader)


@pytest.fixture
def bench(codec: TokenizerCodec, end_id: int, box: sandbox.Sandbox, grader: GraderPool) -> Bench:
    return Bench(codec, end_id, box, grader)


async def sample(
    sampler: TrajectorySampler, *names: str, size: int = 1, settings: RolloutSettings = SETTINGS
) -> list[Group]:
    groups = (
        sampler.sample_group(problem(name), group_size=size, settings=settings, seed=0, uid=f"g-{name}")
        for name in names
    )
    return list(await asyncio.gather(*groups))


def solve(text: str) -> str:
    return "So \\boxed{7}." if rounds_in(text) else act("Add.", "print(3 + 4)")


async def test_right_and_wrong_answers_are_rewarded(bench: Bench) -> None:
    def write(text: str) -> str:
        answer = {"right": "\\boxed{7}", "wrong": "\\boxed{8}", "none": "seven"}
        return next(boxed for name, boxed in answer.items() if f"Problem {name}." in text)

    groups = await sample(bench.sampler(write), "right", "wrong", "none", size=2)
    rewards = {group.problem_id: [trajectory.reward for trajectory in group.trajectories] for group in groups}
    assert rewards == {"right": [1.0, 1.0], "wrong": [0.0, 0.0], "none": [0.0, 0.0]}
    [right, wrong, none] = [group.trajectories[0] for group in groups]
    assert (right.grade_status, right.answer) == ("correct", "7")
    assert (wrong.grade_status, wrong.answer) == ("wrong", "8")
    assert (none.grade_status, none.answer) == ("no_box", None)
    assert {group.kind for group in groups} == {GroupKind.EPISODE}


async def test_trajectories_in_different_phases_all_get_their_full_budget(bench: Bench) -> None:
    """Acceptance test 2: a stray fence of one sibling must not cost another one its rounds."""

    def write(text: str) -> str:
        stray = "A stray fence ``` first.\n" if "Problem shifted." in text and not rounds_in(text) else ""
        return stray + act(f"Step {rounds_in(text)}.", f"print({rounds_in(text)})")

    groups = await sample(bench.sampler(write), "plain", "shifted")
    for group in groups:
        [trajectory] = group.trajectories
        assert [step.code for step in trajectory.steps] == [f"print({index})" for index in range(5)]
        assert trajectory.finish is FinishReason.ROUNDS_EXHAUSTED


async def test_one_failure_no_failure_and_no_code_complete_side_by_side(bench: Bench) -> None:
    """Acceptance test 8."""

    def write(text: str) -> str:
        if "Problem bare." in text or rounds_in(text):
            return "So \\boxed{7}."
        return act("Go.", "print(1 / 0)" if "Problem failing." in text else "print(7)")

    groups = await sample(bench.sampler(write), "failing", "fine", "bare", size=3)
    calls = {group.problem_id: [(t.calls, t.successful_calls) for t in group.trajectories] for group in groups}
    assert calls == {"failing": [(1, 0)] * 3, "fine": [(1, 1)] * 3, "bare": [(0, 0)] * 3}
    assert all(t.finish is FinishReason.ANSWERED for group in groups for t in group.trajectories)
    assert not any(t.all_calls_succeeded for t in groups[2].trajectories)


async def test_a_slow_program_delays_nobody_else(bench: Bench) -> None:
    class SlowForOne:
        async def arun(self, code: str, *, timeout: float | None = None, seed: int | None = None) -> sandbox.Result:  # noqa: ASYNC109
            if "slow" in code:
                await asyncio.sleep(1.0)
            return plain

    def write(text: str) -> str:
        return solve(text) if "Problem slow." not in text else solve(text).replace("3 + 4", "'slow'")

    plain = bench.box.run("print(7)", seed=0)
    sampler = TrajectorySampler(bench.engine(write), bench.codec, SlowForOne(), bench.grader)
    finished: dict[str, float] = {}
    started = time.perf_counter()

    async def timed(name: str) -> None:
        await sample(sampler, name)
        finished[name] = time.perf_counter() - started

    await asyncio.gather(*(timed(name) for name in ["slow", *(f"quick{index}" for index in range(63))]))
    slow = finished.pop("slow")
    assert slow >= 1.0
    assert max(finished.values()) < slow - 0.2


class TestStepGroups:
    """Spec E.4, E.7; acceptance test 4."""

    async def parent_group(self, bench: Bench) -> Group:
        def write(text: str) -> str:
            return act("A long thought about it.", "print(y)") if not rounds_in(text) else "So \\boxed{7}."

        [group] = await sample(bench.sampler(write), "p")
        return group

    async def continuations(self, bench: Bench, write: Writer, box: object = None) -> Group:
        [parent] = (await self.parent_group(bench)).trajectories
        sampler = TrajectorySampler(bench.engine(write), bench.codec, box or bench.box, bench.grader)  # type: ignore[arg-type]
        return await sampler.sample_step_group(
            parent, 0, suffix_tokens=3, group_size=2, settings=SETTINGS, seed=0, uid="s"
        )

    @pytest.mark.parametrize(("code", "reward"), [("print(7)", 1.0), ("print(y)", 0.0), ("y = 7", 0.0), ("1 +", 0.0)])
    async def test_the_execution_is_the_reward(self, bench: Bench, code: str, reward: float) -> None:
        group = await self.continuations(bench, lambda text: act(" again.", code))
        assert group.kind is GroupKind.STEP
        assert [trajectory.reward for trajectory in group.trajectories] == [reward, reward]
        assert all(trajectory.finish is FinishReason.STEP_DONE for trajectory in group.trajectories)
        assert all(trajectory.parent is not None for trajectory in group.trajectories)

    @pytest.mark.parametrize("text", ["The answer is 7.", "A stray fence ``` only.", "```python\nprint(7)"])
    async def test_what_was_not_executed_is_never_rewarded(self, bench: Bench, text: str) -> None:
        group = await self.continuations(bench, lambda _: text)
        assert [trajectory.reward for trajectory in group.trajectories] == [None, None]
        assert [trajectory.calls for trajectory in group.trajectories] == [0, 0]

    async def test_our_failure_is_no_reward(self, bench: Bench) -> None:
        closed = BrokenBox(bench.box.run("print(7)", seed=0))
        group = await self.continuations(bench, lambda text: act(" again.", "print(7)"), closed)
        assert [trajectory.reward for trajectory in group.trajectories] == [None, None]
        assert [trajectory.finish for trajectory in group.trajectories] == [FinishReason.ABORTED] * 2


class BrokenBox:
    """A sandbox that is down."""

    def __init__(self, result: sandbox.Result) -> None:
        self.result = replace(result, status=sandbox.Status.SANDBOX_ERROR, stdout="")

    async def arun(self, code: str, *, timeout: float | None = None, seed: int | None = None) -> sandbox.Result:  # noqa: ASYNC109
        return self.result


async def test_a_broken_sandbox_gives_no_reward_and_is_counted(bench: Bench) -> None:
    """Acceptance test 10, second half."""
    sampler = TrajectorySampler(
        bench.engine(solve), bench.codec, BrokenBox(bench.box.run("print(7)", seed=0)), bench.grader
    )
    [group] = await sample(sampler, "p", size=2)
    assert [(t.reward, t.finish, t.grade_status) for t in group.trajectories] == [
        (None, FinishReason.ABORTED, None)
    ] * 2
    assert sampler.stats.infra_errors == sampler.stats.aborted == 2


class Hanging:
    """An engine, sandbox and grader that never answer."""

    version = 0

    async def generate(
        self,
        request: GenerationRequest,
        on_tokens: OnTokens | None = None,
        interruption: Interruption | None = None,
    ) -> Generation:
        await asyncio.Event().wait()
        raise AssertionError

    async def arun(self, code: str, *, timeout: float | None = None, seed: int | None = None) -> sandbox.Result:  # noqa: ASYNC109
        await asyncio.Event().wait()
        raise AssertionError

    async def agrade(self, response: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("hanging", ["engine", "sandbox", "grader"])
async def test_every_wait_has_a_deadline(bench: Bench, hanging: str) -> None:
    parts = {"engine": bench.engine(solve), "sandbox": bench.box, "grader": bench.grader, hanging: Hanging()}
    sampler = TrajectorySampler(parts["engine"], bench.codec, parts["sandbox"], parts["grader"])  # type: ignore[arg-type]
    [group] = await sample(sampler, "p", settings=replace(SETTINGS, deadline_seconds=0.3))
    [trajectory] = group.trajectories
    assert trajectory.reward is None
    expected = FinishReason.ANSWERED if hanging == "grader" else FinishReason.ABORTED
    assert trajectory.finish is expected
    assert sampler.stats.grader_failures == (hanging == "grader")


async def test_self_correction_is_played_through(bench: Bench) -> None:
    written = [act("Compute.", "print(a)"), render_action("print(b)"), render_action("print(3 + 4)"), "So \\boxed{7}."]
    stream = iter([*(token for text in written for token in bench.codec.encode(text)), bench.end_id])
    engine = ScriptedEngine(bench.codec, bench.end_id, lambda request: stream)
    sampler = TrajectorySampler(engine, bench.codec, bench.box, bench.grader)
    settings = replace(SETTINGS, correction=CorrectionConfig(attempts=4, suffix_tokens=0))
    [group] = await sample(sampler, "p", settings=settings)
    [trajectory] = group.trajectories
    assert [attempt.code for attempt in trajectory.discarded] == ["print(a)", "print(b)"]
    assert (trajectory.calls, trajectory.successful_calls, trajectory.reward) == (1, 1, 1.0)


async def test_who_watches_sees_the_tokens_programs_and_corrections_of_the_same_trajectory(bench: Bench) -> None:
    written = [act("Compute.", "print(a)"), render_action("print(3 + 4)"), "So \\boxed{7}."]
    settings = replace(SETTINGS, correction=CorrectionConfig(attempts=4, suffix_tokens=0))

    def sampler() -> TrajectorySampler:
        stream = iter([*(token for text in written for token in bench.codec.encode(text)), bench.end_id])
        engine = ScriptedEngine(bench.codec, bench.end_id, lambda request: stream)
        return TrajectorySampler(engine, bench.codec, bench.box, bench.grader)

    problem = Problem("p", "What?", "7", "t")
    events = [event async for event in sampler().watch_solution(problem, settings=settings, seed=0, uid="g")]
    group = await sampler().sample_group(problem, group_size=1, settings=settings, seed=0, uid="g")
    done = events.pop()
    assert isinstance(done, Done)
    assert done.trajectory.ids == group.trajectories[0].ids
    ids: list[int] = []
    programs = []
    for event in events:
        assert not isinstance(event, Done)
        if isinstance(event, Sampled):
            ids += event.ids
        else:
            programs.append(event.code)
            del ids[len(ids) - event.discarded_tokens :]
            if not event.discarded_tokens:
                ids += bench.codec.encode(render_observation(event.result.text))
    assert programs == ["print(a)", "print(3 + 4)"]
    assert tuple(ids) == done.trajectory.ids[done.trajectory.prompt_length :]


async def test_a_sample_is_judged_in_the_way_that_its_problem_asks_for(bench: Bench) -> None:
    async def scored(scorer: Scorer) -> Scored:
        sampler = bench.sampler(lambda text: "Roughly \\boxed{7.04}.")
        return await sampler.sample_scored(problem("p"), scorer=scorer, settings=SETTINGS, seed=0, trajectory_id="t/0")

    class Runs:
        async def __call__(self, trajectory: Trajectory, tools: ScoringTools) -> Grade:
            """Judges by what a program prints about the text."""
            result = await tools.code_runner.arun(f"print(len({tools.decode(trajectory.ids)!r}))")
            status = GradeStatus.CORRECT if result.stdout.strip().isdigit() else GradeStatus.WRONG
            return Grade(status, "counted", "tests", None, 0.0)

    exact, tolerant = AnswerScorer("7"), AnswerScorer("7", GradingPolicy(Fraction(1, 100)))
    verdicts = [await scored(scorer) for scorer in (exact, tolerant, Runs())]
    assert [one.grade and one.grade.path for one in verdicts][1:] == ["tolerance", "tests"]
    assert [one.trajectory.reward for one in verdicts] == [0.0, 1.0, 1.0]
    assert [one.trajectory.grade_status for one in verdicts] == ["wrong", "correct", "correct"]
    assert [one.trajectory.answer for one in verdicts] == ["7.04", "7.04", None]
    assert {one.trajectory.id for one in verdicts} == {"t/0"}


async def test_what_was_aborted_is_not_judged(bench: Bench) -> None:
    sampler = TrajectorySampler(Hanging(), bench.codec, bench.box, bench.grader)  # type: ignore[arg-type]
    settings = replace(SETTINGS, deadline_seconds=0.2)
    scored = await sampler.sample_scored(
        problem("p"), scorer=AnswerScorer("7"), settings=settings, seed=0, trajectory_id="t"
    )
    assert (scored.trajectory.finish, scored.grade, sampler.stats.grades) == (FinishReason.ABORTED, None, 0)


async def test_requests_have_seeds_of_their_own_that_repeat(bench: Bench) -> None:
    seeds: list[list[int]] = []
    for _ in range(2):
        engine = bench.engine(solve)
        await sample(TrajectorySampler(engine, bench.codec, bench.box, bench.grader), "a", "b", size=3)
        seeds.append(sorted(request.seed or 0 for request in engine.requests))
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == len(seeds[0]) == 2 * 3 * 3


def test_seeds_depend_on_every_part() -> None:
    many: list[tuple[int | str, ...]] = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1), ("0", "a", 1), (0, "a1")]
    seeds = [derive_seed(*parts) for parts in many]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "a", 1) == seeds[0]


@pytest.mark.parametrize("status", list(ExecutionStatus))
def test_step_rewards(status: ExecutionStatus) -> None:
    reward = execution_reward(ExecutionResult(status, ""))
    assert reward == {ExecutionStatus.OK: 1.0, ExecutionStatus.INFRA_ERROR: None}.get(status, 0.0)
    assert execution_reward(None) is None


async def test_text_is_sampled_without_tools(bench: Bench) -> None:
    sampler = bench.sampler(lambda text: f"after {text[-1]}; then more")
    texts = await sampler.sample_text(
        [bench.codec.encode(text) for text in "ab"], sampling=SETTINGS.sampling, seed=0, stop=(";",)
    )
    assert texts == ["after a;", "after b;"]


async def test_grader_failures_are_no_zeros(bench: Bench) -> None:
    class Failing:
        async def agrade(self, response: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
            return Grade(GradeStatus.TIMEOUT, "no verdict", "symbolic", "7", 1.0)

    sampler = TrajectorySampler(bench.engine(solve), bench.codec, bench.box, Failing())
    [group] = await sample(sampler, "p")
    assert group.trajectories[0].reward is None
    assert group.trajectories[0].grade_status == "timeout"
