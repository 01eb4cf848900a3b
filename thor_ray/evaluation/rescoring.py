"""A second look at an evaluation that is there already: scores of a reward model, verdicts of a language model.

Rows are asked about in order, a bounded number at a time, and given back as they are done, so that whoever is interrupted
loses one batch at the most and asks about nothing twice. What the rules said of a row never changes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from thor_ray.dialogue import PromptFrame
from thor_ray.errors import UserError
from thor_ray.evaluation.reward_models import Conversation, RewardModel
from thor_ray.evaluation.samples import EvaluationSample, JudgeVerdict
from thor_ray.grading import GradeStatus
from thor_ray.grading.judge import AnswerJudge, is_open
from thor_ray.record_schema import VERSION_KEY
from thor_ray.records import read_columns, read_records
from thor_ray.segments import Decoder
from thor_ray.trajectory import Trajectory

BATCH: Final = 64
"""Rows that are asked about before they are recorded together."""

_SHOWN: Final = 3


def unscored(samples: Iterable[EvaluationSample], model: str) -> list[EvaluationSample]:
    """The rows that ``model`` has not scored."""
    return [sample for sample in samples if sample.external_score is None or sample.scored_by != model]


def unjudged(samples: Iterable[EvaluationSample], model: str) -> list[EvaluationSample]:
    """The rows that the rules did not accept and on which ``model`` has given no verdict, though it may have one."""
    return [
        sample
        for sample in samples
        if sample.gold is not None
        and is_open(sample.status, sample.answer)
        and (sample.judge is None or sample.judge.judge != model or sample.judge.status is GradeStatus.ERROR)
    ]


def refuse_mixing(
    samples: Iterable[EvaluationSample], model: str, of: Callable[[EvaluationSample], str | None]
) -> None:
    """Refuses to put one model's opinions among those of another.

    Args:
        samples: All rows.
        model: The model that is to be asked.
        of: The model whose opinion a row holds; ``None`` without any.

    Raises:
        UserError: a row holds another model's opinion.
    """
    if others := {name for sample in samples if (name := of(sample)) not in (None, model)}:
        raise UserError(
            f"these rows hold opinions of {', '.join(sorted(map(str, others)))}, not {model}",
            "replace them by --overwrite, or write a new evaluation by --output",
        )


def score_rows(
    samples: Sequence[EvaluationSample], conversations: Mapping[str, Conversation], model: RewardModel
) -> Iterator[list[EvaluationSample]]:
    """Scores rows batch by batch, and yields each batch with its scores.

    Args:
        samples: To score; each has a conversation.
        conversations: By trajectory id.
        model: Judges them.

    Raises:
        RewardModelError: the model cannot judge a response.
        EndpointError: its server cannot be asked.
    """
    for batch in _batches(samples):
        scores = model.scores([conversations[sample.trajectory_id or ""] for sample in batch])
        yield [
            replace(sample, external_score=score, scored_by=model.name)
            for sample, score in zip(batch, scores, strict=True)
        ]


def judge_rows(
    samples: Sequence[EvaluationSample], questions: Mapping[str, str], judge: AnswerJudge, concurrency: int
) -> Iterator[list[EvaluationSample]]:
    """Asks about rows batch by batch, and yields each batch with the verdicts.

    Args:
        samples: To ask about; each has an answer and a gold answer.
        questions: By trajectory id, as far as known.
        judge: Is asked.
        concurrency: Requests in flight at a time.

    Raises:
        EndpointError: its server cannot be asked.
    """

    def judged(sample: EvaluationSample) -> EvaluationSample:
        question = questions.get(sample.trajectory_id or "", "")
        status, reason = judge.ask(sample.answer or "", sample.gold or "", question)
        return replace(sample, judge=JudgeVerdict(judge=judge.model, status=status, reason=reason))

    for batch in _batches(samples):
        with ThreadPoolExecutor(concurrency, "judge") as threads:
            asked = [threads.submit(judged, sample) for sample in batch]
            try:
                yield [one.result() for one in asked]
            finally:
                threads.shutdown(wait=False, cancel_futures=True)


def recorded_trajectories(folder: Path, wanted: set[str]) -> Iterator[Trajectory]:
    """The trajectories of these ids from all record files below ``folder``.

    Raises:
        UserError: one is not there.
    """
    missing = set(wanted)
    for path in sorted(folder.rglob("*.parquet")):
        if not missing:
            break
        if VERSION_KEY not in (pq.read_schema(path).metadata or {}):
            continue
        if missing.isdisjoint(read_columns([path], ["trajectory_id"]).column("trajectory_id").to_pylist()):
            continue
        for record in read_records([path]):
            if record.trajectory.id in missing:
                missing.remove(record.trajectory.id)
                yield record.trajectory
    if missing:
        shown = ", ".join(sorted(missing)[:_SHOWN])
        raise UserError(
            f"{folder} lacks the trajectories of {len(missing)} rows, e.g. {shown}",
            "responses can be scored only where their trajectories are recorded",
        )


def conversation_of(trajectory: Trajectory, frame: PromptFrame, decode: Decoder, decode_whole: Decoder) -> Conversation:
    """What a trajectory was asked and what it answered, as text.

    Args:
        trajectory: A finished one.
        frame: What stands around the question in its prompt.
        decode: Token ids to text, special tokens left out.
        decode_whole: Token ids to text, special tokens spelt out, as in ``frame``.

    Raises:
        UserError: the prompt was not made by that frame.
    """
    prompt = decode_whole(trajectory.ids[: trajectory.prompt_length])
    start = prompt.find(frame.before)
    if start < 0 or not prompt.endswith(frame.after):
        raise UserError(f"the prompt of {trajectory.id} is not one of the recipe's policy.template: {prompt[:80]!r}")
    question = prompt[start + len(frame.before) :].removesuffix(frame.after)
    return Conversation(question.strip(), decode(trajectory.ids[trajectory.prompt_length :]).strip())


def _batches(samples: Iterable[EvaluationSample]) -> Iterator[list[EvaluationSample]]:
    left = iter(samples)
    while batch := list(islice(left, BATCH)):
        yield batch
