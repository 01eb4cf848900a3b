"""The trajectory state machine: provenance, fences, budgets, continuations, self-correction."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from transformers import PreTrainedTokenizerFast

from actors.codec import TokenizerCodec
from actors.episode import Episode, EpisodeLimits, Execute, Finished, Generate, reasoning_text, writes_own_observation
from actors.generation import Generation, StopCause
from actors.scripted import play_script, scripted_log_prob
from thor_ray.config import CorrectionConfig, RepairStrategy
from thor_ray.dialogue import ACTION_OPEN, render_action, render_observation
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

PROMPT = "What is 3 + 4?\n"
LIMITS = EpisodeLimits(max_rounds=5, max_new_tokens=400, max_context=1000)
OK = ExecutionResult(ExecutionStatus.OK, "7")
FAILED = ExecutionResult(ExecutionStatus.EXCEPTION, "NameError: name 'x' is not defined", "NameError")


@dataclass
class Player:
    """Plays a transcript, what the model writes in order, against one episode."""

    codec: TokenizerCodec
    end_id: int
    executed: list[str] = field(default_factory=list)
    contexts: list[tuple[int, ...]] = field(default_factory=list)

    def tokens(self, *texts: str, end: bool = True) -> list[int]:
        """Encodes piece by piece, as a model that knows its fences would write."""
        ids = [token for text in texts for token in self.codec.encode(text)]
        return [*ids, self.end_id] if end else ids

    def builder(self, prompt: str = PROMPT) -> TrajectoryBuilder:
        return TrajectoryBuilder("t", "p", self.codec.encode(prompt))

    def play(
        self,
        written: list[int],
        limits: EpisodeLimits = LIMITS,
        run: Callable[[str], ExecutionResult] = lambda code: OK,
        builder: TrajectoryBuilder | None = None,
        version: int = 3,
    ) -> Trajectory:
        episode = Episode(builder or self.builder(), self.codec, limits)
        stream: Iterator[int] = iter(written)
        while True:
            match episode.next():
                case Generate(ids=ids, stop=stop, max_new_tokens=budget):
                    self.contexts.append(ids)
                    episode.on_generation(play_script(stream, (stop,), budget, self.codec, self.end_id, version))
                case Execute(code=code):
                    self.executed.append(code)
                    episode.on_execution(run(code))
                case Finished(reason=reason):
                    return episode.builder.finish(reason)

    def texts(self, trajectory: Trajectory, kind: SpanKind) -> list[str]:
        return [
            self.codec.decode(trajectory.ids[span.start : span.end]) for span in trajectory.spans if span.kind is kind
        ]


@pytest.fixture
def player(codec: TokenizerCodec, end_id: int) -> Player:
    return Player(codec, end_id)


def failing(*codes: str) -> Callable[[str], ExecutionResult]:
    return lambda code: FAILED if code in codes else OK


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


def test_no_text_becomes_a_special_token(tokenizer: PreTrainedTokenizerFast) -> None:
    codec = TokenizerCodec(tokenizer)
    ids = codec.encode("a <|endoftext|> b")
    assert tokenizer.eos_token_id not in ids
    assert codec.decode(ids) == "a <|endoftext|> b"
    assert tokenizer.eos_token_id in tokenizer.encode("<|endoftext|>")
