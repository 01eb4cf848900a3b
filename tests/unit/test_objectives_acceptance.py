"""The acceptance tests of spec/thor.md that concern RL, up to what the learner is given; each named after its number.

The official release fails every one of them. Tests of the parts on the way, with a real sandbox, engines and ranks, lie
beside those parts.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from actors.codec import TokenizerCodec
from actors.episode import Episode, EpisodeLimits, Execute, Finished, Generate
from actors.sampler import execution_reward
from actors.scripted import play_script
from learners.sequences import TrainingSequence, from_groups, from_trajectory, token_counts
from tests.support.runs import byte_tokenizer
from tests.support.selection import select
from thor_ray.config import FilterConfig, ObjectiveConfig, RLConfig
from thor_ray.dialogue import render_action, render_observation
from thor_ray.objectives import LEVELS, PolicyBatch, denominators, policy_loss
from thor_ray.problems.generate import generate
from thor_ray.selection import (
    FailedStep,
    TrajectoryReject,
    choose_failed_steps,
    failed_steps,
    reward_missing_actions,
)
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    Trajectory,
    TrajectoryBuilder,
    backtrack_cut,
)

CODEC = TokenizerCodec(PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), eos_token="!"))
OK = ExecutionResult(ExecutionStatus.OK, "7")
FAILED = ExecutionResult(ExecutionStatus.EXCEPTION, "NameError: name 'x' is not defined", "NameError")
INFRA = ExecutionResult(ExecutionStatus.INFRA_ERROR, "")

Run = Callable[[str], ExecutionResult]


def succeed(code: str) -> ExecutionResult:
    return OK


class Playing:
    """An episode and what its policy is going to write; ``advance`` does one thing that the episode waits for."""

    def __init__(self, name: str, texts: Sequence[str], run: Run = succeed, start: TrajectoryBuilder | None = None):
        builder = start or TrajectoryBuilder(name, "p", CODEC.encode("What is 3 + 4?\n"))
        limits = EpisodeLimits(5, max_new_tokens=600, max_context=1500, single_step=start is not None)
        self.episode = Episode(builder, CODEC, limits)
        self._written = iter([*itertools.chain.from_iterable(map(CODEC.encode, texts)), CODEC.end_of_sequence])
        self._run = run

    def advance(self) -> Trajectory | None:
        match self.episode.next():
            case Generate(stop=stop, max_new_tokens=budget):
                self.episode.on_generation(
                    play_script(self._written, (stop,), budget, CODEC, CODEC.end_of_sequence, version=0)
                )
            case Execute(code=code):
                self.episode.on_execution(self._run(code))
            case Finished(reason=reason):
                return self.episode.builder.finish(reason)
        return None


def play(name: str, *texts: str, run: Run = succeed, start: TrajectoryBuilder | None = None) -> Trajectory:
    playing = Playing(name, texts, run, start)
    while (finished := playing.advance()) is None:
        pass
    return finished


def gradient_mask(trajectory: Trajectory) -> Tensor:
    """Which tokens of a trajectory the whole objective, every term on, pulls at: bool ``[length]``."""
    sequence = from_trajectory(trajectory, advantage=1.0, level=GroupKind.EPISODE, group_uid="g").load()
    log_probs = torch.from_numpy(sequence.behaviour_log_probs.copy()).unsqueeze(0).requires_grad_()
    entropies = torch.ones_like(log_probs).requires_grad_()
    config = ObjectiveConfig(nll_weight=0.1, kl_weight=0.1, entropy_weight=0.1)
    batch = policy_batch([sequence], reference=log_probs.detach() - 0.1)
    loss, _ = policy_loss(log_probs, batch, denominators(batch.counts(), "per_level"), config, entropies)
    loss.backward()
    assert log_probs.grad is not None
    assert entropies.grad is not None
    assert torch.equal(log_probs.grad != 0, entropies.grad != 0)
    return (log_probs.grad != 0)[0]


def policy_batch(sequences: Sequence[TrainingSequence], reference: Tensor | None = None) -> PolicyBatch:
    length = max(map(len, sequences))

    def rows(values: Sequence[np.ndarray]) -> Tensor:
        return torch.stack([torch.from_numpy(np.pad(row, (0, length - len(row)))) for row in values])

    return PolicyBatch(
        mask=rows([sequence.loss_mask for sequence in sequences]),
        advantages=torch.tensor([sequence.advantage for sequence in sequences]),
        levels=torch.tensor([LEVELS.index(sequence.level) for sequence in sequences]),
        stale=torch.zeros(len(sequences), dtype=torch.bool),
        behaviour_log_probs=rows([sequence.behaviour_log_probs for sequence in sequences]),
        reference_log_probs=reference,
    )


def test_acceptance_01_no_token_of_an_observation_is_trained_on():
    """A.9: the tokens without gradient are the prompt and exactly the two observations."""
    written = ["First.\n", render_action("print(3)"), "Then.\n", render_action("print(4)"), "So \\boxed{7}."]
    trajectory = play("t", *written, run=lambda code: ExecutionResult(ExecutionStatus.OK, f"out of {code}"))
    trained = gradient_mask(trajectory).tolist()
    untouched = [
        CODEC.decode([token for token, _ in run])
        for pulled, run in itertools.groupby(zip(trajectory.ids, trained, strict=True), key=lambda pair: pair[1])
        if not pulled
    ]
    assert untouched == [
        "What is 3 + 4?\n",
        render_observation("out of print(3)"),
        render_observation("out of print(4)"),
    ]


def test_acceptance_02_samples_in_different_phases_all_get_their_rounds():
    """A.10: two siblings play in turn, one held up by a stray fence; both run five programs."""
    steps = [text for index in range(6) for text in (f"Step {index}.\n", render_action(f"print({index})"))]
    plain, shifted = Playing("plain", steps), Playing("shifted", ["A stray fence ``` first.\n", *steps])
    finished: dict[str, Trajectory] = {}
    while len(finished) < 2:
        for playing in (plain, shifted):
            if (done := playing.advance()) is not None:
                finished[done.id] = done
    for trajectory in finished.values():
        assert [step.code for step in trajectory.steps] == [f"print({index})" for index in range(5)]
        assert trajectory.finish is FinishReason.ROUNDS_EXHAUSTED


@pytest.mark.parametrize("prose", ["I would use python\nprint(3)\n", "python\nprint(1)\n", "`python`\nprint(1)\n"])
def test_acceptance_03_prose_that_ends_in_python_is_not_executed(prose):
    """I.2-13: nothing ran, so nothing failed, and the trajectory is not thrown away."""
    trajectory = play("t", prose, "So \\boxed{7}.", run=lambda _: FAILED)
    assert trajectory.cost.sandbox_calls == 0
    rewarded = trajectory.with_reward(1.0)
    other = play("u", "So \\boxed{8}.").with_reward(0.0)
    selection = select([Group("g", GroupKind.EPISODE, "p", (rewarded, other))], FilterConfig())
    assert selection.trajectory_rejects.total() == 0
    assert len(selection.kept) == 1


class TestAcceptance04NoExecutedBlockNoStepReward:
    """E.4: whatever a continuation writes, without an execution it has no reward, and never a positive advantage."""

    def step_group(self, *texts: Sequence[str], run: Run = succeed) -> Group:
        parent = play("parent", "Add.\n", render_action("x"), "So \\boxed{7}.", run=lambda _: FAILED)
        members = []
        for index, written in enumerate(texts):
            start = TrajectoryBuilder.branch(f"s{index}", parent, 0, parent.steps[0].thought.end - 2)
            playing = Playing(f"s{index}", written, run, start)
            while (finished := playing.advance()) is None:
                pass
            members.append(finished.with_reward(execution_reward(playing.episode.last_result)))
        return Group("g", GroupKind.STEP, "p", tuple(members))

    def test_text_fences_and_invented_outputs_earn_nothing(self):
        group = self.step_group(
            ["d.\n", render_action("print(7)")],
            ["d it is 7."],
            ["d ``` and ```python"],
            [render_observation("7")],
            ["d.\n```python\nprint(7)"],  # the end of the turn comes before the fence
        )
        assert [member.reward for member in group.trajectories] == [1.0, None, None, None, None]

    @pytest.mark.parametrize("reward", [None, 0.0, -1.0])
    def test_they_are_excluded_or_count_as_failures(self, reward):
        written = [["d.\n", render_action("print(7)")], ["d.\n", render_action("x")], ["no code"], ["none either"]]
        group = self.step_group(*written, run=lambda code: OK if code == "print(7)" else FAILED)
        selection = select(reward_missing_actions([group], reward), FilterConfig())
        advantages = {
            member.id: advantage
            for kept in selection.kept
            for member, advantage in zip(kept.group.trajectories, kept.advantages, strict=True)
        }
        assert set(advantages) == ({"s0", "s1"} if reward is None else {"s0", "s1", "s2", "s3"})
        assert all(advantages.get(name, -1) < 0 for name in ("s2", "s3"))

    def test_no_recipe_can_reward_them(self):
        with pytest.raises(ValidationError, match="no_action_reward"):
            RLConfig(no_action_reward=1.0)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 40), st.integers(0, 12))
def test_acceptance_05_a_long_cut_ends_at_the_previous_observation(first, second, suffix, step):
    """E.3: ``L_suf > |r^t|`` gives a prefix that ends exactly at the end of ``o^{t-1}``; no cut goes further back."""
    thoughts = ["a" * first, "b" * second]
    texts = [text for thought in thoughts for text in (thought, render_action("print(1)"))]
    parent = play("t", *texts, "So \\boxed{7}.", run=lambda _: FAILED)
    chosen = step % 2
    cut = backtrack_cut(parent.steps[chosen], suffix)
    border = parent.steps[0].observation.end if chosen and parent.steps[0].observation else parent.prompt_length
    length = len(thoughts[chosen])
    assert cut == border + max(0, length - suffix)
    branch = TrajectoryBuilder.branch("b", parent, chosen, cut)
    assert branch.ids == list(parent.ids[:cut])
    if suffix >= length and chosen:
        assert CODEC.decode(parent.ids[:cut]).endswith(render_observation(FAILED.text))


class TestAcceptance08SmallRounds:
    """I.2-15: a round completes with one failure, with none, and without any code at all."""

    def round_of(self, *programs: str | None) -> tuple[list[Group], list[FailedStep]]:
        members = [
            play(f"t{index}", "So.\n", *([] if code is None else [render_action(code)]), "\\boxed{7}", run=self.run)
            for index, code in enumerate(programs)
        ]
        rewarded = [member.with_reward(float(index % 2)) for index, member in enumerate(members)]
        groups = [Group("g", GroupKind.EPISODE, "p", tuple(rewarded))]
        return groups, choose_failed_steps(rewarded, limit=len(groups), seed=0)

    def run(self, code: str) -> ExecutionResult:
        return FAILED if code == "x" else OK

    def test_exactly_one_failure(self):
        groups, failures = self.round_of("x", "1", "1", "1")
        assert [(failure.trajectory.id, failure.step_index) for failure in failures] == [("t0", 0)]
        selection = select(groups, FilterConfig())
        assert selection.trajectory_rejects == {TrajectoryReject.FAILED_CODE: 1}
        assert len(from_groups(selection.kept)) == 3

    def test_no_failure(self):
        groups, failures = self.round_of("1", "1", "1", "1")
        assert failures == []
        assert len(from_groups(select(groups, FilterConfig()).kept)) == 4

    def test_no_code(self):
        groups, failures = self.round_of(None, None, None, None)
        assert failures == []
        assert len(from_groups(select(groups, FilterConfig()).kept)) == 4

    def test_nothing_but_failures(self):
        groups, failures = self.round_of("x", "x", "x", "x")
        assert len(failures) == 1  # never more than queries
        selection = select(groups, FilterConfig())
        assert selection.kept == ()
        assert from_groups(selection.kept) == []


class TinyPolicy(nn.Module):
    """A recurrent policy over bytes: the smallest thing with shared parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.memory, self.head = (
            nn.Embedding(257, 12),
            nn.GRU(12, 12, batch_first=True),
            nn.Linear(12, 257),
        )
        self.double()

    def forward(self, sequences: Sequence[TrainingSequence]) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies, ``[rows, length]``; 0 for the first token."""
        length = max(map(len, sequences))
        ids = torch.stack([torch.from_numpy(np.pad(one.ids, (0, length - len(one)))) for one in sequences])
        hidden, _ = self.memory(self.embedding(ids))
        distribution = self.head(hidden[:, :-1]).log_softmax(dim=-1)
        log_probs = distribution.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
        entropies = -(distribution.exp() * distribution).sum(dim=-1)
        return nn.functional.pad(log_probs, (1, 0)), nn.functional.pad(entropies, (1, 0))

    def gradient(self, micro_batches: Sequence[Sequence[TrainingSequence]], config: ObjectiveConfig) -> Tensor:
        """Of the loss of all micro-batches, by all parameters: ``[parameters]``."""
        self.zero_grad()
        everything = [sequence for batch in micro_batches for sequence in batch]
        divisors = denominators(token_counts(everything), config.denominator)
        for sequences in micro_batches:
            log_probs, entropies = self(sequences)
            loss, _ = policy_loss(log_probs, policy_batch(sequences), divisors, config, entropies)
            loss.backward()
        return torch.cat([cast("Tensor", parameter.grad).flatten() for parameter in self.parameters()])


def a_round(seed: int) -> list[TrainingSequence]:
    """Both levels of one round, chosen by ``seed``: the data, the selection and what the learner is given."""
    problems = generate(["gcd", "lcm"], [1], count=4, seed=seed, split="train")
    episodes = []
    for index, problem in enumerate(problems):
        code = "x" if index % 2 else "print(1)"
        members = [
            play(f"e{index}/{n}", problem.question[: 5 + n] + "\n", render_action(code), "\\boxed{7}", run=run_or_fail)
            for n in range(3)
        ]
        episodes.append(
            Group(
                f"e{index}",
                GroupKind.EPISODE,
                problem.id,
                tuple(m.with_reward(float(n > 0)) for n, m in enumerate(members)),
            )
        )
    failures = choose_failed_steps((m for group in episodes for m in group.trajectories), 2, seed)
    steps = []
    for index, (parent, step) in enumerate(failures):
        members = []
        for n in range(3):
            start = TrajectoryBuilder.branch(f"s{index}/{n}", parent, step, backtrack_cut(parent.steps[step], 3))
            member = play(f"s{index}/{n}", "so\n", render_action("x" * n or "1"), run=run_or_fail, start=start)
            members.append(member.with_reward(float(n == 0)))
        steps.append(Group(f"s{index}", GroupKind.STEP, parent.problem_id, tuple(members)))
    selection = select([*episodes, *steps], FilterConfig(failed_code=False))
    return [sequence.load() for sequence in from_groups(selection.kept)]


def run_or_fail(code: str) -> ExecutionResult:
    return FAILED if code.startswith("x") else OK


OPTIONS = [
    {},
    {"denominator": "shared", "step_weight": 0.5},
    {"aggregation": "sequence_mean", "ratio": "sequence"},
    {"aggregation": "sequence_mean_token_sum_norm", "norm_tokens": 64, "entropy_weight": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_acceptance_11_splitting_a_mini_batch_gives_identical_gradients(options):
    """D.1: of a policy's parameters, for one micro-batch, one per sequence, and a ragged cut."""
    torch.manual_seed(0)
    policy, sequences = TinyPolicy(), a_round(seed=1)
    config = ObjectiveConfig.model_validate({"nll_weight": 0.1} | options)
    whole = policy.gradient([sequences], config)
    assert whole.abs().max() > 1e-4
    for cut in (
        [[one] for one in sequences],
        [sequences[:5], sequences[5:6], sequences[6:]],
        [sequences[1::2], sequences[::2]],
    ):
        torch.testing.assert_close(policy.gradient(cut, config), whole, rtol=1e-9, atol=1e-12)


def test_acceptance_11_the_weights_of_the_levels_are_respected():
    """E.6: the joint gradient is ``w_episode g_episode + w_step g_step``, whatever the levels' shares of tokens."""
    torch.manual_seed(0)
    policy, sequences = TinyPolicy(), a_round(seed=1)
    alone = [
        policy.gradient([[one for one in sequences if one.level is level]], ObjectiveConfig()) for level in GroupKind
    ]
    joint = policy.gradient([sequences], ObjectiveConfig(episode_weight=2.0, step_weight=0.25))
    torch.testing.assert_close(joint, 2.0 * alone[0] + 0.25 * alone[1], rtol=1e-9, atol=1e-12)


def test_acceptance_11_the_release_depends_on_the_split():
    """So that the test above could fail, and that ``mixed_batch`` is what it says."""
    torch.manual_seed(0)
    policy, sequences = TinyPolicy(), a_round(seed=1)
    config = ObjectiveConfig(denominator="shared", mixed_batch=True)
    whole, split = (policy.gradient(cut, config) for cut in ([sequences], [[one] for one in sequences]))
    assert (whole - split).abs().max() > 1e-3 * whole.abs().max()


def test_acceptance_12_the_same_seed_gives_the_same_data_selections_and_losses():
    """I.3: three optimizer steps, bit by bit; another seed gives other data."""

    def trained(seed: int) -> tuple[list[list[int]], Tensor]:
        torch.manual_seed(seed)
        policy, sequences = TinyPolicy(), a_round(seed)
        optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
        for _ in range(3):
            policy.gradient([sequences[:4], sequences[4:]], ObjectiveConfig())
            optimizer.step()
        weights = torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])
        return [one.ids.tolist() for one in sequences], weights

    data, weights = trained(1)
    again, same_weights = trained(1)
    assert data == again
    assert torch.equal(weights, same_weights)
    assert trained(2)[0] != data


def test_acceptance_12_the_round_has_both_levels_and_failures():
    """What the tests above stand on."""
    sequences = a_round(seed=1)
    assert {sequence.level for sequence in sequences} == set(GroupKind)
    assert len({sequence.group_uid for sequence in sequences}) == 6
    assert failed_steps([play("t", "so\n", render_action("x"), run=run_or_fail)])
