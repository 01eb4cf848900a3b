"""Families: failed steps are branched while their siblings still run, and never more of them than were granted."""

import asyncio
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

import sandbox
from actors.branching import BranchBudget, Branching
from actors.codec import TokenizerCodec
from actors.families import FamilySampler
from actors.generation import Generation, GenerationRequest, Interruption, OnTokens, StopCause
from actors.sampler import RolloutSettings, TrajectorySampler
from actors.scripted import ScriptedEngine
from thor_ray.config import SamplingConfig
from thor_ray.dialogue import render_action
from thor_ray.grading import GraderPool
from thor_ray.problems import Problem
from thor_ray.trajectory import Group, GroupKind

SETTINGS = RolloutSettings(SamplingConfig(max_new_tokens=600), "bare", max_context=2000)
FAILING, WORKING = render_action("print(x)"), render_action("print(7)")


class SlowToFinish(ScriptedEngine):
    """After a failed program, the trajectory itself goes on only once all branches have been asked for."""

    def __init__(self, codec: TokenizerCodec, end_id: int, branches: int) -> None:
        super().__init__(codec, end_id, self._write)
        self._text, self._end, self._branches = codec, end_id, branches
        self._branched = asyncio.Event()
        self._seen = 0

    def _write(self, request: GenerationRequest) -> list[int]:
        text = self._text.decode(request.ids)
        whole = "So \\boxed{7}." if "```output" in text else f"Add.\n{FAILING}"
        if "```python\n" in text and "```output" not in text:
            whole = FAILING[FAILING.index("\n") + 1 :]
        return [*self._text.encode(whole), self._end]

    async def generate(
        self,
        request: GenerationRequest,
        on_tokens: OnTokens | None = None,
        interruption: Interruption | None = None,
    ) -> Generation:
        text = self._text.decode(request.ids)
        if "```output" in text:
            async with asyncio.timeout(60):
                await self._branched.wait()
        elif "Add" in text and "```python" not in text:
            self._seen += 1
            if self._seen == self._branches:
                self._branched.set()
        return await super().generate(request, on_tokens, interruption)


async def family(codec: TokenizerCodec, end_id: int, box: sandbox.Sandbox, branching: Branching | None) -> list[Group]:
    engine = SlowToFinish(codec, end_id, branches=2)
    if branching is None:
        engine._branched.set()
    with GraderPool() as grader:
        sampler = FamilySampler(TrajectorySampler(engine, codec, box, grader))
        return await sampler.sample(
            Problem("p", "Add.", "7", "test"),
            group_size=3,
            branching=branching,
            settings=SETTINGS,
            seed=0,
            uid="g000004",
        )


async def test_a_failed_step_is_branched_before_its_own_trajectory_goes_on(codec, end_id, box):
    """Waiting for the family to be complete would wait for ever here."""
    episode, step = await family(codec, end_id, box, Branching(1.0, 1, suffix_tokens=2, group_size=2))
    assert (episode.uid, episode.kind, len(episode.trajectories)) == ("g000004", GroupKind.EPISODE, 3)
    assert (step.uid, step.kind, len(step.trajectories)) == ("g000004/s0", GroupKind.STEP, 2)
    parents = {trajectory.id: trajectory for trajectory in episode.trajectories}
    for branch in step.trajectories:
        assert branch.parent is not None
        parent = parents[branch.parent.trajectory_id]
        assert branch.ids[: branch.parent.cut] == parent.ids[: branch.parent.cut]
        assert parent.steps[branch.parent.step_index].result.status.failed
        assert branch.reward == 0.0


async def test_without_branching_there_are_siblings_only(codec, end_id, box):
    (episode,) = await family(codec, end_id, box, None)
    assert all(trajectory.reward == 1.0 for trajectory in episode.trajectories)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), max_size=40), st.integers(0, 8))
def test_no_more_is_spent_than_was_granted_nor_saved_than_allowed(events, at_most):
    """Each event is a problem that brings eighths of a step group, and the steps of it that fail."""
    budget, granted, spent = BranchBudget(), Fraction(0), 0
    for eighths, failures in events:
        budget.grant(eighths / 8, at_most)
        granted += Fraction(eighths, 8)
        begun = sum(budget.spend() for _ in range(failures))
        spent += begun
        assert begun <= max(1, at_most)
        assert spent <= granted


def test_what_nobody_spends_is_there_for_others():
    budget = BranchBudget()
    for _ in range(4):
        budget.grant(0.5, at_most=2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]


@given(st.integers(0, 30), st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=4), st.data())
def test_every_token_of_a_generation_has_the_version_that_stood_when_it_was_sampled(length, updates, data):
    later = tuple(sorted({min(position, length): version for position, version in updates}.items()))
    generation = Generation((5,) * length, (0.0,) * length, StopCause.EOS, 0, later_versions=later)
    expected = [max(((at, v) for at, v in later if at <= token), default=(0, 0))[1] for token in range(length)]
    start = data.draw(st.integers(0, length))
    end = data.draw(st.integers(start, length))
    found = [version for first, last, version in generation.runs(start, end) for _ in range(first, last)]
    assert found == expected[start:end]
