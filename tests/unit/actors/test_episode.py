"""The trajectory state machine: provenance, fences, budgets, continuations."""

import pytest
from transformers import PreTrainedTokenizerFast

from actors.codec import TokenizerCodec
from actors.episode import Episode, EpisodeLimits, Finished, reasoning_text, writes_own_observation
from actors.generation import Generation, StopCause
from actors.scripted import scripted_log_prob
from tests.support.playing import LIMITS, OK, PROMPT, Player, failing
from thor_ray.dialogue import render_action, render_observation
from thor_ray.trajectory import (
    NO_VERSION,
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    SpanKind,
    Trajectory,
    TrajectoryBuilder,
    backtrack_cut,
)


def test_observations_are_exactly_the_masked_spans(player: Player) -> None:
    """Acceptance test 1: in a two-block trajectory the environment's spans decode to the two observations."""
    written = player.tokens(
        "First.\n", render_action("print(3)"), "Then.\n", render_action("print(4)"), "So \\boxed{7}."
    )
    trajectory = player.play(written, run=lambda code: ExecutionResult(ExecutionStatus.OK, f"out of {code}"))
    assert player.texts(trajectory, SpanKind.OBSERVATION) == [
        render_observation("out of print(3)"),
        render_observation("out of print(4)"),
    ]
    mask = trajectory.loss_mask()
    assert [token for token, trained in zip(trajectory.ids, mask, strict=True) if trained] == written
    assert [token for token, trained in zip(trajectory.ids, mask, strict=True) if not trained] == [
        *player.codec.encode(PROMPT),
        *player.codec.encode(render_observation("out of print(3)")),
        *player.codec.encode(render_observation("out of print(4)")),
    ]
    kinds = [span.kind.value for span in trajectory.spans]
    assert kinds == ["prompt", "thought", "action", "observation", "thought", "action", "observation", "answer"]
    assert trajectory.finish is FinishReason.ANSWERED
    assert player.executed == ["print(3)", "print(4)"]


def test_sampled_tokens_alone_carry_log_probs_and_versions(player: Player) -> None:
    trajectory = player.play(player.tokens("Hm.\n", render_action("print(3)"), "So."), version=9)
    for token, log_prob, version, trained in zip(
        trajectory.ids, trajectory.log_probs, trajectory.versions, trajectory.loss_mask(), strict=True
    ):
        assert version == (9 if trained else NO_VERSION)
        assert log_prob == (scripted_log_prob(token) if trained else 0.0)


def test_the_opening_fence_belongs_to_the_action(player: Player) -> None:
    trajectory = player.play(player.tokens("Think.\n", render_action("print(3)"), "So."))
    assert player.texts(trajectory, SpanKind.THOUGHT) == ["Think.\n"]
    assert player.texts(trajectory, SpanKind.ACTION) == [render_action("print(3)")]
    assert trajectory.steps[0].code == "print(3)"


@pytest.mark.parametrize("prose", ["I would use python\nprint(3)\n", "python\nprint(1)", "`python`\nprint(1)\n```\n"])
def test_prose_that_ends_in_python_is_not_executed(player: Player, prose: str) -> None:
    """Acceptance test 3."""
    trajectory = player.play(player.tokens(prose, "So \\boxed{7}."))
    assert player.executed == []
    assert trajectory.calls == 0
    assert [span.kind for span in trajectory.spans] == [SpanKind.PROMPT, SpanKind.ANSWER]


@pytest.mark.parametrize(
    "code",
    [
        "",
        "print(3)",
        "text = '```'\nprint(text)",
        "print('a')\n\n\nprint('b')",
        "s = '''\n ```\n'''\nprint(s)",
        "é = 3",
    ],
)
def test_programs_arrive_as_they_were_written(player: Player, code: str) -> None:
    trajectory = player.play(player.tokens("Run.\n", render_action(code), "So."))
    assert player.executed == [code]
    assert [span.kind.value for span in trajectory.spans] == ["prompt", "thought", "action", "observation", "answer"]


def test_an_output_block_of_the_policy_is_no_observation(player: Player) -> None:
    trajectory = player.play(player.tokens("Suppose it printed\n```output\n5\n```\nThen 5."))
    assert player.executed == []
    assert player.texts(trajectory, SpanKind.OBSERVATION) == []
    assert writes_own_observation(trajectory, player.codec)
    assert not writes_own_observation(player.play(player.tokens("a", render_action("print(1)"), "b")), player.codec)


def test_answers_are_looked_for_outside_programs_and_outputs(player: Player) -> None:
    code = "print('\\\\boxed{1}')"
    trajectory = player.play(
        player.tokens("a\n", render_action(code), "b"),
        run=lambda _: ExecutionResult(ExecutionStatus.OK, "\\boxed{2}"),
    )
    assert reasoning_text(trajectory, player.codec) == "a\n\nb"


def test_an_empty_program_may_share_the_newline_of_its_fences(player: Player) -> None:
    trajectory = player.play(player.tokens("Run.\n", "```python\n", "```", "So."))
    assert player.executed == [""]
    assert trajectory.finish is FinishReason.ANSWERED


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_one_round_more_than_allowed_ends_the_trajectory(player: Player, rounds: int) -> None:
    pieces = [piece for index in range(rounds + 1) for piece in (f"Step {index}.\n", render_action(f"print({index})"))]
    limits = EpisodeLimits(max_rounds=rounds, max_new_tokens=400, max_context=1000)
    trajectory = player.play(player.tokens(*pieces, "So."), limits)
    assert trajectory.finish is FinishReason.ROUNDS_EXHAUSTED
    assert player.executed == [f"print({index})" for index in range(rounds)]
    assert len(trajectory.steps) == rounds
    assert trajectory.loss_mask().sum() == trajectory.cost.generated_tokens


def test_token_budget_ends_the_trajectory(player: Player) -> None:
    written = player.tokens("Think.\n", render_action("print(3)"), "So the sum is seven and so on.")
    for budget in range(1, len(written)):
        trajectory = player.play(written, EpisodeLimits(max_rounds=5, max_new_tokens=budget, max_context=1000))
        assert trajectory.loss_mask().sum() == budget
        assert trajectory.finish is FinishReason.LENGTH
        assert SpanKind.ANSWER not in {span.kind for span in trajectory.spans}


def test_context_is_never_exceeded(player: Player) -> None:
    written = player.tokens("Think.\n", render_action("print(3)"), "So the sum is seven and so on.")
    prompt = len(player.codec.encode(PROMPT))
    whole = len(player.play(written).ids)
    for context in range(prompt, whole + 2):
        trajectory = player.play(written, EpisodeLimits(max_rounds=5, max_new_tokens=400, max_context=context))
        assert len(trajectory.ids) <= context
        assert trajectory.finish is (FinishReason.ANSWERED if context >= whole else FinishReason.LENGTH)


def test_an_observation_without_room_is_left_out(player: Player) -> None:
    written = player.tokens("Think.\n", render_action("print(3)"), "So.")
    context = len(player.builder()) + len(player.tokens("Think.\n", render_action("print(3)"), end=False)) + 4
    limits = EpisodeLimits(max_rounds=5, max_new_tokens=400, max_context=context)
    trajectory = player.play(written, limits, run=lambda _: ExecutionResult(ExecutionStatus.OK, "7" * 200))
    assert trajectory.finish is FinishReason.LENGTH
    assert [step.observation for step in trajectory.steps] == [None]
    assert trajectory.spans[-1].kind is SpanKind.ACTION


def test_training_may_stop_at_the_first_failure(player: Player) -> None:
    limits = EpisodeLimits(max_rounds=5, max_new_tokens=400, max_context=1000, stop_at_failed_code=True)
    written = player.tokens("a\n", render_action("print(1)"), "b\n", render_action("print(x)"), "So.")
    trajectory = player.play(written, limits, failing("print(x)"))
    assert trajectory.finish is FinishReason.FAILED_CODE_STOP
    assert [step.result.status for step in trajectory.steps] == [ExecutionStatus.OK, ExecutionStatus.EXCEPTION]
    assert trajectory.spans[-1].kind is SpanKind.ACTION


def test_our_own_failure_aborts_and_is_not_the_codes_fault(player: Player) -> None:
    infra = ExecutionResult(ExecutionStatus.INFRA_ERROR, "The program could not be run.")
    trajectory = player.play(player.tokens("a\n", render_action("print(1)"), "So."), run=lambda _: infra)
    assert trajectory.finish is FinishReason.ABORTED
    assert trajectory.reward is None
    assert trajectory.cost.failed_calls == 0
    assert player.texts(trajectory, SpanKind.OBSERVATION) == []


@pytest.mark.parametrize(
    ("body_text", "cut_short"),
    [("print(1)", StopCause.ABORTED), ("print(1)\n```", StopCause.ABORTED), ("print(1)", StopCause.LENGTH)],
)
def test_a_program_cut_short_is_not_run(player: Player, body_text: str, cut_short: StopCause) -> None:
    episode = Episode(player.builder(), player.codec, LIMITS)
    opening = player.tokens("a\n", "```python\n", end=False)
    episode.on_generation(Generation(tuple(opening), (0.0,) * len(opening), StopCause.STOP, 0))
    body = player.tokens(body_text, end=False)
    episode.on_generation(Generation(tuple(body), (0.0,) * len(body), cut_short, 0))
    expected = FinishReason.ABORTED if cut_short is StopCause.ABORTED else FinishReason.LENGTH
    assert episode.next() == Finished(expected)


def test_what_was_not_asked_for_is_refused(player: Player) -> None:
    episode = Episode(player.builder(), player.codec, LIMITS)
    with pytest.raises(ValueError, match="does not wait for an execution"):
        episode.on_execution(OK)
    episode.abort()
    with pytest.raises(ValueError, match="does not wait for tokens"):
        episode.on_generation(Generation((1,), (0.0,), StopCause.LENGTH, 0))
    assert episode.next() == Finished(FinishReason.ABORTED)


class TestContinuation:
    """Step-level continuations (spec E.7)."""

    def parent(self, player: Player) -> Trajectory:
        written = player.tokens("one\n", render_action("print(1)"), "two\n", render_action("print(x)"), "So.")
        return player.play(written, run=failing("print(x)"))

    def limits(self) -> EpisodeLimits:
        return EpisodeLimits(max_rounds=1, max_new_tokens=400, max_context=1000, single_step=True)

    @pytest.mark.parametrize("suffix", [0, 1, 2, 100])
    def test_one_loop_is_sampled_after_the_shared_prefix(self, player: Player, suffix: int) -> None:
        parent = self.parent(player)
        cut = backtrack_cut(parent.steps[1], suffix)
        written = player.tokens("again\n", render_action("print(2)"), end=False)
        branch = TrajectoryBuilder.branch("b", parent, 1, cut)
        trajectory = player.play([*written, *player.tokens("never read")], self.limits(), builder=branch)
        assert trajectory.finish is FinishReason.STEP_DONE
        assert trajectory.ids == (*parent.ids[:cut], *written)
        assert player.texts(trajectory, SpanKind.OBSERVATION) == player.texts(parent, SpanKind.OBSERVATION)[:1]
        mask = trajectory.loss_mask()
        assert not mask[:cut].any()
        assert mask[cut:].all()
        assert [(step.inherited, step.code) for step in trajectory.steps] == [(True, "print(1)"), (False, "print(2)")]
        assert trajectory.steps[1].thought.start == parent.steps[1].thought.start

    def test_a_suffix_longer_than_the_thought_stops_at_the_previous_observation(self, player: Player) -> None:
        """Acceptance test 5."""
        parent = self.parent(player)
        observation = parent.steps[0].observation
        assert observation is not None
        assert backtrack_cut(parent.steps[1], 10_000) == observation.end

    def test_without_an_action_nothing_is_executed(self, player: Player) -> None:
        parent = self.parent(player)
        branch = TrajectoryBuilder.branch("b", parent, 1, backtrack_cut(parent.steps[1], 100))
        trajectory = player.play(player.tokens("the answer is 3"), self.limits(), builder=branch)
        assert player.executed == ["print(1)", "print(x)"]  # the parent's
        assert trajectory.finish is FinishReason.ANSWERED
        assert trajectory.calls == 0


def test_no_text_becomes_a_special_token(tokenizer: PreTrainedTokenizerFast) -> None:
    codec = TokenizerCodec(tokenizer)
    ids = codec.encode("a <|endoftext|> b")
    assert tokenizer.eos_token_id not in ids
    assert codec.decode(ids) == "a <|endoftext|> b"
    assert tokenizer.eos_token_id in tokenizer.encode("<|endoftext|>")
