"""Invariants 1 to 5 of the trajectory state machine under random transcripts, results, budgets and modes."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from actors.codec import TokenizerCodec
from actors.episode import Episode, EpisodeLimits, Execute, Finished, Generate
from actors.generation import StopCause
from actors.scripted import play_script
from thor_ray.config import CorrectionConfig, RepairStrategy
from thor_ray.dialogue import extract_code, render_observation
from thor_ray.trajectory import ExecutionResult, ExecutionStatus, FinishReason, SpanKind, Trajectory, TrajectoryBuilder

PROMPT = "What?\n"
PIECES = [
    "Let us see.\n",
    "```python\n",
    "print(1)",
    "\n```",
    "```",
    "\n```\n",
    "```output\n7",
    "python\n",
    "`",
    "\n",
    "\\boxed{7}",
    "x = '```'",
    "<end>",
]
TEXTS = ["7", "", "a\nb", "NameError: x", "'''", "0" * 40]

transcripts = st.lists(st.sampled_from(PIECES), max_size=25)
results = st.lists(
    st.builds(ExecutionResult, st.sampled_from(ExecutionStatus), st.sampled_from(TEXTS)), min_size=1, max_size=8
)
limits = st.builds(
    EpisodeLimits,
    max_rounds=st.integers(0, 4),
    max_new_tokens=st.integers(1, 150),
    max_context=st.integers(1, 250),
    stop_at_failed_code=st.booleans(),
    single_step=st.booleans(),
    correction=st.none()
    | st.builds(
        CorrectionConfig,
        strategy=st.sampled_from(RepairStrategy),
        attempts=st.integers(1, 3),
        suffix_tokens=st.integers(0, 6),
    ),
    discarded_factor=st.integers(1, 3),
)


@dataclass
class Played:
    trajectory: Trajectory
    observed: list[str]
    sampled: int
    conditioned: int
    executed: list[str]


def play(
    codec: TokenizerCodec, end_id: int, pieces: list[str], outcomes: list[ExecutionResult], limits: EpisodeLimits
) -> Played:
    stream = iter([token for piece in pieces for token in ([end_id] if piece == "<end>" else codec.encode(piece))])
    episode = Episode(TrajectoryBuilder("t", "p", codec.encode(PROMPT)), codec, limits)
    sampled, conditioned, executed, turn = 0, 0, [], 0
    while True:
        turn += 1
        match episode.next():
            case Generate(ids=ids, stop=stop, max_new_tokens=budget):
                assert budget > 0
                assert ids == tuple(episode.builder.ids)
                generation = play_script(stream, (stop,), budget, codec, end_id, version=turn)
                sampled += len(generation.ids)
                conditioned += len(ids)
                episode.on_generation(generation)
            case Execute(code=code):
                executed.append(code)
                episode.on_execution(outcomes[(len(executed) - 1) % len(outcomes)])
            case Finished(reason=reason):
                trajectory = episode.builder.finish(reason)
                observed = [step.result.text for step in trajectory.steps if step.observation is not None]
                return Played(trajectory, observed, sampled, conditioned, executed)


@pytest.mark.parametrize("name", ["bytes", "fences"])
@hypothesis_settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pieces=transcripts, outcomes=results, limits=limits)
def test_invariants(
    name: str,
    tokenizers_by_name: dict[str, PreTrainedTokenizerFast],
    pieces: list[str],
    outcomes: list[ExecutionResult],
    limits: EpisodeLimits,
) -> None:
    tokenizer = tokenizers_by_name[name]
    codec = TokenizerCodec(tokenizer)
    played = play(codec, tokenizer.eos_token_id, pieces, outcomes, limits)
    trajectory = played.trajectory
    mask = trajectory.loss_mask()

    # 1: the mask counts the sampled tokens that stand; observations decode to exactly what was injected.
    assert mask.sum() == trajectory.cost.kept_tokens == played.sampled - trajectory.cost.discarded_tokens
    spans = [span for span in trajectory.spans if span.kind is SpanKind.OBSERVATION]
    decoded = [codec.decode(trajectory.ids[span.start : span.end]) for span in spans]
    assert decoded == [render_observation(text) for text in played.observed]
    assert trajectory.cost.prompt_tokens == played.conditioned
    # The spans tile the ids; a version and a log-prob come with a sampled token and with no other.
    borders = [0, *(span.end for span in trajectory.spans)]
    assert borders == [*(span.start for span in trajectory.spans), len(trajectory.ids)]
    assert ((trajectory.versions >= 0) == mask).all()
    assert ((trajectory.log_probs != 0) == mask).all()
    # 3: corrections cut inside the failed step's own thought.
    for attempt in trajectory.discarded:
        assert attempt.cut >= max((span.end for span in spans if span.end <= attempt.cut), default=0)
        assert attempt.cut >= trajectory.prompt_length
    # F.1: the prefix of a step is fixed at its first failure, and there are no more attempts than allowed.
    if limits.correction is not None:
        replans = limits.correction.strategy is RepairStrategy.FULL_REPLAN
        steps = {None} if replans else {attempt.step_index for attempt in trajectory.discarded}
        for step_index in steps:
            attempts = [one for one in trajectory.discarded if step_index in (None, one.step_index)]
            assert len({attempt.cut for attempt in attempts}) <= 1
            assert len(attempts) <= limits.correction.attempts
    else:
        assert not trajectory.discarded
    # 4: only programs that were closed in sampled text were executed, and they are the actions' own.
    assert len(played.executed) == trajectory.cost.sandbox_calls
    if (
        limits.correction is None or limits.correction.strategy is not RepairStrategy.FULL_REPLAN
    ):  # which forgets the steps before the failed one as well
        assert trajectory.cost.sandbox_calls == len(trajectory.steps) + len(trajectory.discarded)
    for step in trajectory.steps:
        action = codec.decode(trajectory.ids[step.action.start : step.action.end])
        assert step.code == extract_code(action)
        assert step.code in played.executed
    # 5: the budgets are this trajectory's own and hold.
    assert trajectory.cost.kept_tokens <= limits.max_new_tokens
    assert trajectory.cost.generated_tokens <= limits.max_new_tokens * limits.discarded_factor
    assert len(trajectory.ids) <= max(limits.max_context, trajectory.prompt_length)
    assert len(trajectory.steps) <= max(limits.max_rounds, 0)
    check_finish(trajectory, limits)


def check_finish(trajectory: Trajectory, limits: EpisodeLimits) -> None:
    statuses = [step.result.status for step in trajectory.steps]
    match trajectory.finish:
        case FinishReason.STEP_DONE:
            assert limits.single_step
            assert len(statuses) == 1
        case FinishReason.FAILED_CODE_STOP:
            assert limits.stop_at_failed_code
            assert statuses[-1].failed
        case FinishReason.ROUNDS_EXHAUSTED:
            assert len(statuses) == limits.max_rounds
        case FinishReason.ANSWERED | FinishReason.LENGTH | FinishReason.ABORTED:
            pass
    assert (ExecutionStatus.INFRA_ERROR in statuses) <= (trajectory.finish is FinishReason.ABORTED)


def test_a_script_that_runs_dry_is_an_abort(codec: TokenizerCodec, end_id: int) -> None:
    generation = play_script(iter(codec.encode("ab")), ("```",), 100, codec, end_id)
    assert generation.cause is StopCause.ABORTED
    assert codec.decode(generation.ids) == "ab"
