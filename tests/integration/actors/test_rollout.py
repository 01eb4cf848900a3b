"""Groups of trajectories from a real engine, sandbox and grader in a Ray actor."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import ray
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from actors.sampler import RolloutSettings
from thor_ray.config import CorrectionConfig, Recipe, SamplingConfig
from thor_ray.dialogue import render_observation
from thor_ray.problems.problem import Problem
from thor_ray.trajectory import FinishReason, Group, GroupKind, SpanKind, Trajectory

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LOG_PROB_TOLERANCE = 1e-3


@pytest.fixture
def settings(recipe: Recipe) -> RolloutSettings:
    return RolloutSettings(SamplingConfig(max_new_tokens=200), "bare", recipe.policy.max_context)


@pytest.fixture(scope="module")
def tokenizer(tiny_policies: Any) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(tiny_policies.taught)


@pytest.fixture(scope="module")
def logits(tiny_policies: Any) -> Callable[[Trajectory], torch.Tensor]:
    """Logits of the taught policy by transformers: ``[len(ids) - 1, vocabulary]``, row i predicts token i + 1."""
    model = Qwen3ForCausalLM.from_pretrained(tiny_policies.taught, dtype=torch.float32).eval()

    def compute(trajectory: Trajectory) -> torch.Tensor:
        with torch.no_grad():
            rows: torch.Tensor = model(torch.tensor([trajectory.ids])).logits[0, :-1]
        return rows

    return compute


def problem(first: int, second: int) -> Problem:
    return Problem(f"{first}+{second}", f"What is {first} + {second}?", str(first + second), "test")


def sample(actor: Any, settings: RolloutSettings, uid: str, count: int = 4, size: int = 8) -> list[Group]:
    groups: list[Group] = ray.get(
        [
            actor.rollout_group.remote(problem(3 + index, 4), size, settings, seed=0, uid=f"{uid}-{index}")
            for index in range(count)
        ],
        timeout=120,
    )
    return groups


def trajectories(groups: list[Group]) -> list[Trajectory]:
    return [trajectory for group in groups for trajectory in group.trajectories]


def test_groups_are_sampled_executed_and_graded(
    rollout_actor: Any, settings: RolloutSettings, tokenizer: PreTrainedTokenizerFast
) -> None:
    groups = sample(rollout_actor, settings, "g")
    assert [[t.id for t in group.trajectories] for group in groups] == [
        [f"g-{index}/{sibling}" for sibling in range(8)] for index in range(4)
    ]
    for group in groups:
        gold = str(int(group.problem_id.split("+")[0]) + 4)
        for trajectory in group.trajectories:
            mask = trajectory.loss_mask()
            assert mask.sum() == trajectory.cost.kept_tokens == (trajectory.versions >= 0).sum()
            observations = [
                tokenizer.decode(trajectory.ids[span.start : span.end])
                for span in trajectory.spans
                if span.kind is SpanKind.OBSERVATION
            ]
            texts = [step.result.text for step in trajectory.steps if step.observation is not None]
            assert observations == [render_observation(text) for text in texts]
            if trajectory.finish is FinishReason.ANSWERED and trajectory.grade_status in ("correct", "wrong"):
                assert trajectory.reward == float(trajectory.answer == gold)
    played = trajectories(groups)
    assert sum(trajectory.successful_calls for trajectory in played) >= 8
    assert {trajectory.reward for trajectory in played} == {0.0, 1.0}
    assert ray.get(rollout_actor.stats.remote())["cached_share"] > 0


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probs_are_those_of_the_distribution_sampled_from(
    rollout_actor: Any, settings: RolloutSettings, logits: Callable[[Trajectory], torch.Tensor], temperature: float
) -> None:
    sampling = settings.sampling.model_copy(update={"temperature": temperature})
    for trajectory in trajectories(sample(rollout_actor, replace(settings, sampling=sampling), f"t{temperature}")):
        rows = (logits(trajectory) / temperature).log_softmax(-1)
        expected = rows.gather(1, torch.tensor(trajectory.ids[1:])[:, None])[:, 0].numpy()
        sampled = trajectory.loss_mask()[1:]
        assert np.abs(trajectory.log_probs[1:] - expected)[sampled].max() <= LOG_PROB_TOLERANCE


def test_the_ids_conditioned_on_are_the_ids_recorded(rollout_actor: Any, settings: RolloutSettings) -> None:
    """Token in, token out: probing the recorded ids gives the very log-probs of the sampling."""
    played = trajectories(sample(rollout_actor, settings, "io", count=1))
    probed = ray.get(rollout_actor.probe.remote([list(trajectory.ids) for trajectory in played]))
    for trajectory, log_probs in zip(played, probed, strict=True):
        sampled = trajectory.loss_mask()[1:]
        assert np.abs(np.array(log_probs) - trajectory.log_probs[1:])[sampled].max() <= 1e-5


def test_greedy_tokens_are_those_of_transformers(
    rollout_actor: Any, settings: RolloutSettings, logits: Callable[[Trajectory], torch.Tensor]
) -> None:
    greedy = replace(settings, sampling=settings.sampling.model_copy(update={"temperature": 0.0}))
    for trajectory in trajectories(sample(rollout_actor, greedy, "greedy", size=1)):
        best = logits(trajectory).argmax(-1).numpy()
        sampled = trajectory.loss_mask()[1:]
        assert (best == np.array(trajectory.ids[1:]))[sampled].all()


def test_the_same_seed_gives_the_same_trajectories(rollout_actor: Any, settings: RolloutSettings) -> None:
    """Invariant 11, bit by bit, although batches are composed differently each time."""
    together = trajectories(sample(rollout_actor, settings, "seed"))
    alone = [
        trajectory
        for index in reversed(range(4))
        for trajectory in ray.get(
            rollout_actor.rollout_group.remote(problem(3 + index, 4), 8, settings, seed=0, uid=f"seed-{index}")
        ).trajectories
    ]
    repeated = {trajectory.id: trajectory for trajectory in alone}
    for trajectory in together:
        assert trajectory.ids == repeated[trajectory.id].ids
        assert (trajectory.log_probs == repeated[trajectory.id].log_probs).all()
    other = ray.get(rollout_actor.rollout_group.remote(problem(3, 4), 8, settings, seed=1, uid="seed-0"))
    assert [t.ids for t in other.trajectories] != [t.ids for t in together[:8]]


def test_failed_steps_are_continued_from_their_prefix(rollout_actor: Any, settings: RolloutSettings) -> None:
    played = trajectories(sample(rollout_actor, settings, "parents"))
    parent, index = next((t, i) for t in played for i, step in enumerate(t.steps) if step.result.status.failed)
    # Hot enough that siblings differ, however sure the policy is of its next step.
    hot = replace(settings, sampling=settings.sampling.model_copy(update={"temperature": 2.0}))
    group: Group = ray.get(
        rollout_actor.continue_step.remote(parent, index, suffix_tokens=3, group_size=8, settings=hot, seed=0, uid="s")
    )
    assert group.kind is GroupKind.STEP
    thought = parent.steps[index].thought
    cut = max(thought.start, thought.end - 3)
    for trajectory in group.trajectories:
        assert trajectory.ids[:cut] == parent.ids[:cut]
        assert trajectory.loss_mask().sum() == len(trajectory.ids) - cut
        assert trajectory.calls <= 1
        status = trajectory.own_steps[0].result.status if trajectory.calls else None
        assert trajectory.reward == (None if status is None else float(status == "ok"))
    assert len({trajectory.ids for trajectory in group.trajectories}) > 1


def test_self_correction_lifts_the_share_of_successful_calls(rollout_actor: Any, settings: RolloutSettings) -> None:
    corrected = replace(settings, correction=CorrectionConfig(attempts=4, suffix_tokens=6))
    plain = trajectories(sample(rollout_actor, settings, "c"))
    better = trajectories(sample(rollout_actor, corrected, "c"))

    def pass_rate(played: list[Trajectory]) -> float:
        return sum(t.successful_calls for t in played) / sum(t.calls for t in played)

    assert any(trajectory.discarded for trajectory in better)
    assert pass_rate(better) > pass_rate(plain)


def test_text_is_sampled_without_tools(rollout_actor: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ray.get(
        rollout_actor.sample_text.remote(
            [tokenizer.encode("What is 3 + 4?\n")] * 2,
            SamplingConfig(temperature=0.0, max_new_tokens=30),
            seed=0,
            stop=("\n",),
        )
    )
    assert texts[0] == texts[1]
    assert texts[0].endswith("\n")
