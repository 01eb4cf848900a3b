"""Trajectories that are interrupted and go on later: nothing of them changes, fences are still found once each."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

import sandbox
from actors.branching import Branching
from actors.codec import TokenizerCodec
from actors.episode import Episode, EpisodeLimits, Execute, Finished, Generate
from actors.families import FamilySampler
from actors.generation import GenerationRequest, StopCause
from actors.going_on import is_suspended
from actors.sampler import RolloutSettings, TrajectorySampler
from actors.scripted import ScriptedEngine, play_script
from thor_ray.config import CorrectionConfig, SamplingConfig
from thor_ray.dialogue import render_action
from thor_ray.grading import GraderPool
from thor_ray.problems import Problem
from thor_ray.trajectory import ExecutionResult, ExecutionStatus, FinishReason, Group, Trajectory, TrajectoryBuilder

PIECES = [
    "Let us see.\n", "```python\n", "print(1)", "\n```", "```", "\n```\n", "``", "`", "```output\n7", "python\n", "\n",
    "\\boxed{7}", "x = '```'", "<end>",
]  # fmt: skip
RESULTS = [ExecutionResult(ExecutionStatus.OK, "7"), ExecutionResult(ExecutionStatus.EXCEPTION, "NameError: x")]

cuts = st.lists(st.none() | st.integers(0, 12), max_size=30)
"""For each moment of a trajectory: goes on, or is interrupted after so many tokens of what is being sampled."""


def play(
    codec: TokenizerCodec, end_id: int, pieces: list[str], limits: EpisodeLimits, interruptions: list[int | None]
) -> tuple[Trajectory, int]:
    """One trajectory, and how often it was taken up again. Another version of the weights samples after each time."""
    stream = iter([token for piece in pieces for token in ([end_id] if piece == "<end>" else codec.encode(piece))])
    episode = Episode(TrajectoryBuilder("t", "p", codec.encode("What?\n")), codec, limits)
    cut_after, executed, version = iter(interruptions), 0, 0
    while True:
        cut = next(cut_after, None)
        match episode.next():
            case Generate(stop=stop, max_new_tokens=budget):
                most = budget if cut is None else min(cut, budget)
                generation = play_script(stream, (stop,), most, codec, end_id, version) if most else None
                if generation is not None and (most == budget or generation.cause is not StopCause.LENGTH):
                    episode.on_generation(generation)
                    continue
                episode.suspend(generation and replace(generation, cause=StopCause.ABORTED))
            case Execute() if cut is None:
                executed += 1
                episode.on_execution(RESULTS[executed % len(RESULTS)])
                continue
            case Execute():
                episode.suspend()
            case Finished(reason=reason):
                return episode.builder.finish(reason), version
        suspended = episode.builder.finish(FinishReason.SUSPENDED)
        if isinstance(episode.next(), Finished) and episode.next() != Finished(FinishReason.SUSPENDED):
            continue
        episode, version = Episode.resume(suspended, codec, limits), version + 1


@pytest.mark.parametrize("name", ["bytes", "fences"])
@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=20),
    limits=st.builds(
        EpisodeLimits,
        max_rounds=st.integers(0, 4),
        max_new_tokens=st.integers(1, 150),
        max_context=st.integers(1, 250),
        stop_at_failed_code=st.booleans(),
        single_step=st.booleans(),
    ),
    interruptions=cuts,
)
def test_interrupted_anywhere_a_trajectory_is_the_same_as_undisturbed(
    name: str,
    tokenizers_by_name: dict[str, PreTrainedTokenizerFast],
    pieces: list[str],
    limits: EpisodeLimits,
    interruptions: list[int | None],
) -> None:
    tokenizer = tokenizers_by_name[name]
    codec = TokenizerCodec(tokenizer)
    whole, _ = play(codec, tokenizer.eos_token_id, pieces, limits, [])
    pieced, times = play(codec, tokenizer.eos_token_id, pieces, limits, interruptions)
    assert (pieced.ids, pieced.spans, pieced.finish) == (whole.ids, whole.spans, whole.finish)
    assert pieced.log_probs.tobytes() == whole.log_probs.tobytes()
    assert [(step.code, step.action, step.result) for step in pieced.steps] == [
        (step.code, step.action, step.result) for step in whole.steps
    ]
    assert pieced.cost.generated_tokens == whole.cost.generated_tokens
    mask = pieced.loss_mask()
    assert ((pieced.versions >= 0) == mask).all()
    sampled = pieced.versions[mask].tolist()
    assert sampled == sorted(sampled)
    assert max(sampled, default=0) <= times


def test_only_what_was_suspended_is_resumed_and_not_under_self_correction(codec: TokenizerCodec) -> None:
    limits = EpisodeLimits(max_rounds=1, max_new_tokens=9, max_context=99)
    builder = TrajectoryBuilder("t", "p", codec.encode("What?\n"))
    with pytest.raises(ValueError, match="is aborted, not suspended"):
        Episode.resume(builder.finish(FinishReason.ABORTED), codec, limits)
    corrected = replace(limits, correction=CorrectionConfig())
    with pytest.raises(ValueError, match="self-correction cannot be resumed"):
        Episode.resume(builder.finish(FinishReason.SUSPENDED), codec, corrected)


FAILING = render_action("print(x)")
WHOLE = f"Add.\n{FAILING}"


class Writer(ScriptedEngine):
    """Adds with a program that fails, and then answers; goes on wherever a text breaks off. Each request takes for ever
    until it is interrupted, if it is to be."""

    def __init__(self, codec: TokenizerCodec, end_id: int, patient: bool) -> None:
        super().__init__(codec, end_id, self._write, seconds_per_request=3600.0 if patient else 0.0)
        self._text, self._end = codec, end_id

    def _write(self, request: GenerationRequest) -> list[int]:
        text = self._text.decode(request.ids)
        whole = "So \\boxed{7}." if "```output" in text else WHOLE
        written = next(length for length in range(len(whole), -1, -1) if text.endswith(whole[:length]))
        return [*self._text.encode(whole[written:]), self._end]


@pytest.fixture(scope="module")
def grader():
    with GraderPool() as pool:
        yield pool


async def sampled(families: FamilySampler, partial: Sequence[Group] = ()) -> list[Group]:
    return await families.sample(
        Problem("p", "Problem.", "7", "test"),
        group_size=2,
        branching=Branching(1.0, 1, suffix_tokens=2, group_size=2),
        settings=RolloutSettings(SamplingConfig(max_new_tokens=600), "bare", max_context=2000),
        seed=0,
        uid="g000004",
        partial=partial,
    )


async def test_a_family_goes_on_where_it_was_suspended_and_keeps_its_tokens(
    codec: TokenizerCodec, end_id: int, box: sandbox.Sandbox, grader: GraderPool
) -> None:
    patient, prompt = Writer(codec, end_id, patient=True), Writer(codec, end_id, patient=False)
    first, second = (FamilySampler(TrajectorySampler(engine, codec, box, grader)) for engine in (patient, prompt))
    sampling = asyncio.create_task(sampled(first))
    async with asyncio.timeout(60):
        while len(patient.requests) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    first.suspend("of nobody")
    first.suspend("g000004")
    (episode,) = await sampling
    assert is_suspended(episode)
    assert all(each.finish is FinishReason.SUSPENDED and each.reward is None for each in episode.trajectories)
    assert all(each.loss_mask().sum() > 0 for each in episode.trajectories), "what was sampled is lost"
    finished = await sampled(second, [episode])
    assert not any(map(is_suspended, finished))
    for before, after in zip(episode.trajectories, finished[0].trajectories, strict=True):
        assert after.ids[: len(before.ids)] == before.ids
        assert after.log_probs[: len(before.ids)].tobytes() == before.log_probs.tobytes()
        assert (codec.decode(after.ids).count(FAILING), after.calls, after.reward) == (1, 1, 1.0)


async def test_branches_of_a_suspended_family_go_on_as_branches_of_the_same_step(
    codec: TokenizerCodec, end_id: int, box: sandbox.Sandbox, grader: GraderPool
) -> None:
    class Interrupting(Writer):
        """Interrupts the family with the first request of a branch."""

        families: FamilySampler

        def _write(self, request: GenerationRequest) -> list[int]:
            text = self._text.decode(request.ids)
            if "```output" in text:
                self.families.suspend("g000004")
            return super()._write(request)

    engine = Interrupting(codec, end_id, patient=False)
    engine.families = FamilySampler(TrajectorySampler(engine, codec, box, grader))
    partial, times = await sampled(engine.families), 1
    while any(map(is_suspended, partial)):
        partial, times = await sampled(engine.families, partial), times + 1
    assert times > 1, "nothing was interrupted"
    episode, step = partial
    parents = {trajectory.id: trajectory for trajectory in episode.trajectories}
    for branch in step.trajectories:
        assert branch.parent is not None
        parent = parents[branch.parent.trajectory_id]
        assert branch.ids[: branch.parent.cut] == parent.ids[: branch.parent.cut]
        assert (branch.finish, branch.reward, len(branch.own_steps)) == (FinishReason.STEP_DONE, 0.0, 1)
    assert [each.reward for each in episode.trajectories] == [1.0, 1.0]
