"""The trajectory state machine after a failed step: what is thrown away, what stays, what it costs."""

import pytest

from actors.episode import EpisodeLimits
from tests.support.playing import FAILED, PROMPT, Player, failing
from thor_ray.config import CorrectionConfig, RepairStrategy
from thor_ray.dialogue import ACTION_OPEN, render_action, render_observation
from thor_ray.trajectory import (
    ExecutionStatus,
    FinishReason,
    SpanKind,
    TrajectoryBuilder,
    backtrack_cut,
)


class TestSelfCorrection:
    """Spec F.1 [N]; acceptance test 6."""

    def limits(self, attempts: int = 4, suffix: int = 2, rounds: int = 2, factor: int = 4) -> EpisodeLimits:
        correction = CorrectionConfig(attempts=attempts, suffix_tokens=suffix)
        return EpisodeLimits(rounds, 400, 1000, correction=correction, discarded_factor=factor)

    def test_failures_are_resampled_from_a_fixed_prefix_and_cost_no_rounds(self, player: Player) -> None:
        thought = player.tokens("We compute it", end=False)
        pieces = [*thought, *player.tokens(render_action("bad1"), end=False)]
        # New suffixes shorter than L_suf: a cut that is taken from the new end each time would drift backwards.
        pieces += player.tokens("q", render_action("bad2"), render_action("bad3"), end=False)
        pieces += player.tokens("s", render_action("good"), "Then\n", render_action("good"), "So.")
        trajectory = player.play(pieces, self.limits(), failing("bad1", "bad2", "bad3"))
        assert trajectory.finish is FinishReason.ANSWERED
        assert [step.code for step in trajectory.steps] == ["good", "good"]
        cut = len(player.builder()) + len(thought) - 2
        assert [attempt.cut for attempt in trajectory.discarded] == [cut] * 3
        assert [attempt.code for attempt in trajectory.discarded] == ["bad1", "bad2", "bad3"]
        prefix = tuple(player.codec.encode(PROMPT)) + tuple(thought[:-2])
        assert player.contexts.count(prefix) == 3
        assert all(
            context[: len(player.builder())] == tuple(player.codec.encode(PROMPT)) for context in player.contexts
        )
        assert trajectory.cost.discarded_tokens == sum(len(attempt.ids) for attempt in trajectory.discarded)
        assert trajectory.cost.kept_tokens == trajectory.loss_mask().sum()
        assert trajectory.cost.sandbox_calls == 5
        assert trajectory.cost.failed_calls == 3

    def test_a_suffix_longer_than_the_thought_keeps_all_before_it(self, player: Player) -> None:
        """The cut lies inside the failed thought, never in the observation before or, at the first step, in the prompt."""
        pieces = player.tokens("One.\n", render_action("bad1"), "Again.\n", render_action("fine"), end=False)
        pieces += player.tokens("Two.\n", render_action("bad2"), "Three.\n", render_action("good"), "So.")
        trajectory = player.play(pieces, self.limits(suffix=1000), failing("bad1", "bad2"))
        first, second = trajectory.discarded
        observation = trajectory.steps[0].observation
        assert observation is not None
        assert (first.step_index, first.cut) == (0, trajectory.prompt_length)
        assert (second.step_index, second.cut) == (1, observation.end)
        assert player.codec.decode(second.ids) == "Two.\n" + render_action("bad2")
        assert player.texts(trajectory, SpanKind.THOUGHT) == ["Again.\n", "Three.\n"]

    def test_an_attempt_is_not_told_what_went_wrong_before(self, player: Player) -> None:
        pieces = player.tokens("Try", *[render_action("bad")] * 3, "I give up.")
        player.play(pieces, self.limits(attempts=2, suffix=0), failing("bad"))
        told = [FAILED.text in player.codec.decode(context) for context in player.contexts]
        assert told[-1]
        assert not any(told[:-1]), "only what follows the last attempt reads the error"

    def test_the_header_of_the_chat_stays_in_front_of_every_attempt(self, player: Player) -> None:
        header = "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n"
        pieces = player.tokens("Try", *[render_action("bad")] * 2, render_action("good"), "So.")
        player.play(pieces, self.limits(suffix=1000), failing("bad"), player.builder(header))
        assert len(player.contexts) >= 3 * 2
        assert all(player.codec.decode(context).startswith(header) for context in player.contexts)

    def test_after_the_last_attempt_the_error_stays(self, player: Player) -> None:
        pieces = player.tokens("Try", *[render_action("bad")] * 3, "I give up.")
        trajectory = player.play(pieces, self.limits(attempts=2, suffix=0), failing("bad"))
        assert len(trajectory.discarded) == 2
        assert player.texts(trajectory, SpanKind.OBSERVATION) == [render_observation(FAILED.text)]
        assert trajectory.finish is FinishReason.ANSWERED

    def test_discarded_tokens_do_not_count_as_new_tokens(self, player: Player) -> None:
        kept = player.tokens("a", render_action("good"), "So.")
        pieces = player.tokens("a", render_action("bad"), render_action("bad"), render_action("good"), "So.")
        correction = CorrectionConfig(attempts=4, suffix_tokens=0)
        trajectory = player.play(pieces, EpisodeLimits(5, len(kept), 1000, correction=correction), failing("bad"))
        assert trajectory.finish is FinishReason.ANSWERED
        assert trajectory.cost.kept_tokens == len(kept)

    def test_each_step_has_its_own_attempts(self, player: Player) -> None:
        pieces = player.tokens("a", *[render_action("bad")] * 2, "b", *[render_action("bad")] * 2, "c")
        trajectory = player.play(pieces, self.limits(attempts=1, suffix=0), failing("bad"))
        assert len(trajectory.discarded) == 2
        assert [step.result.status for step in trajectory.steps] == [ExecutionStatus.EXCEPTION] * 2

    def test_endless_failure_meets_the_bound_on_discarded_tokens(self, player: Player) -> None:
        pieces = player.tokens("a", *[render_action("bad" * 5)] * 300)
        limits = EpisodeLimits(5, 100, 1000, correction=CorrectionConfig(attempts=1000, suffix_tokens=0))
        trajectory = player.play(pieces, limits, failing("bad" * 5))
        assert trajectory.finish is FinishReason.LENGTH
        assert trajectory.cost.generated_tokens <= 400


class TestRepairStrategies:
    """Spec F.2: what is thrown away when a program fails."""

    def limits(self, strategy: RepairStrategy, attempts: int = 2) -> EpisodeLimits:
        correction = CorrectionConfig(strategy=strategy, attempts=attempts, suffix_tokens=2)
        return EpisodeLimits(3, 400, 1000, correction=correction)

    def test_action_only_keeps_the_thought_and_its_fence(self, player: Player) -> None:
        thought = player.tokens("We compute it", end=False)
        rest = render_action("good").removeprefix(ACTION_OPEN)
        pieces = [*thought, *player.tokens(render_action("bad"), rest, "So.")]
        trajectory = player.play(pieces, self.limits(RepairStrategy.ACTION_ONLY), failing("bad"))
        assert [step.code for step in trajectory.steps] == ["good"]
        (attempt,) = trajectory.discarded
        cut = len(player.builder()) + len(thought) + len(player.codec.encode(ACTION_OPEN))
        assert attempt.cut == cut
        assert player.texts(trajectory, SpanKind.THOUGHT) == ["We compute it"]
        assert player.texts(trajectory, SpanKind.ACTION) == [render_action("good")]
        assert trajectory.finish is FinishReason.ANSWERED

    def test_a_full_replan_begins_at_the_question_and_has_all_rounds_again(self, player: Player) -> None:
        first = player.tokens("a", render_action("fine"), "b", render_action("bad"), end=False)
        again = player.tokens("c", *[render_action(f"good{index}") for index in range(3)], "So.")
        trajectory = player.play([*first, *again], self.limits(RepairStrategy.FULL_REPLAN), failing("bad"))
        assert [step.code for step in trajectory.steps] == ["good0", "good1", "good2"]
        (attempt,) = trajectory.discarded
        assert (attempt.step_index, attempt.cut) == (1, trajectory.prompt_length)
        assert player.contexts.count(tuple(player.codec.encode(PROMPT))) == 2
        assert trajectory.cost.discarded_tokens == len(first), "the observation between was not sampled"
        assert trajectory.cost.kept_tokens == trajectory.loss_mask().sum()
        assert trajectory.cost.sandbox_calls == 5

    def test_replans_are_counted_over_the_whole_solution(self, player: Player) -> None:
        piece = ["a", render_action("fine"), render_action("bad")]
        pieces = player.tokens(*piece * 3, "I give up.")
        trajectory = player.play(pieces, self.limits(RepairStrategy.FULL_REPLAN, attempts=2), failing("bad"))
        assert len(trajectory.discarded) == 2
        assert [step.code for step in trajectory.steps] == ["fine", "bad"]

    def test_a_continuation_cannot_restart(self, player: Player) -> None:
        parent = player.play(player.tokens("a", render_action("bad"), "b"), EpisodeLimits(3, 400, 1000), failing("bad"))
        branch = TrajectoryBuilder.branch("b", parent, 0, backtrack_cut(parent.steps[0], 0))
        with pytest.raises(ValueError, match="cannot restart"):
            branch.restart("bad", FAILED)
