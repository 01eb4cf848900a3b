"""``thor eval score`` and ``thor eval judge``: second opinions on an evaluation that is there already."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from thor_ray.cli.evaluation import EvaluationName, print_sections
from thor_ray.errors import UserError
from thor_ray.evaluation.reward_models.server import CONCURRENCY, Protocol

if TYPE_CHECKING:
    from thor_ray.endpoints import JsonEndpoint
    from thor_ray.evaluation.reward_models import Conversation, RewardModel
    from thor_ray.evaluation.samples import EvaluationSample
    from thor_ray.evaluation.sources import Evaluation

TIMEOUT_SECONDS: Final = 120.0

Endpoint = Annotated[str | None, typer.Option(help="A model server, e.g. http://127.0.0.1:8000/v1.")]
RewardDirectory = Annotated[
    Path | None, typer.Option("--reward-model", help="Directory of a sequence classifier with one label.")
]
RewardProtocol = Annotated[
    Protocol, typer.Option("--protocol", help="How the server is asked for a score, as vLLM names it.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests in flight at a time.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that the server may be silent.")]
ApiKey = Annotated[
    str | None, typer.Option(envvar="THOR_API_KEY", help="Bearer token of the server; best by the variable.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="With --reward-model: responses of one forward pass.")]
Output = Annotated[
    Path | None, typer.Option(help="Leave the evaluation alone and write a new one into this directory.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another model said of these rows.")]


def score(
    evaluation: EvaluationName,
    reward_model: RewardDirectory = None,
    endpoint: Endpoint = None,
    model: Annotated[str | None, typer.Option(help="With --endpoint: the model's name on the server.")] = None,
    protocol: RewardProtocol = Protocol.CLASSIFY,
    concurrency: Concurrency = CONCURRENCY,
    batch_size: BatchSize = 8,
    timeout: Timeout = TIMEOUT_SECONDS,
    api_key: ApiKey = None,
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Score recorded responses by a reward model, for choosing the best of N; goes on where it was interrupted."""
    from thor_ray.evaluation.rescoring import refuse_mixing, score_rows, unscored

    judge = reward_model_of(
        reward_model, endpoint, model, protocol, concurrency=concurrency, batch_size=batch_size, timeout=timeout,
        api_key=api_key,
    )  # fmt: skip
    with _opened(evaluation, output) as place:
        if not overwrite:
            refuse_mixing(place.samples, judge.name, lambda sample: sample.scored_by)
        left = unscored(place.samples, judge.name)
        if without := sum(sample.trajectory_id is None for sample in left):
            raise UserError(
                f"{without} rows of {evaluation} have no recorded trajectory, so there is no text to score",
                "put scores into the responses file, as `score` of each line",
            )
        conversations = place.conversations(left)
        place.record("scoring", len(left), score_rows(left, conversations, judge))
        place.report("Choosing one candidate")


def judge(
    evaluation: EvaluationName,
    endpoint: Annotated[str, typer.Option(help="An OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1.")],
    model: Annotated[str, typer.Option(help="The judge's name on the server.")],
    concurrency: Concurrency = CONCURRENCY,
    timeout: Timeout = TIMEOUT_SECONDS,
    api_key: ApiKey = None,
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Ask a language model about answers that the rules did not accept; its verdicts stand beside theirs."""
    from thor_ray.evaluation.rescoring import judge_rows, refuse_mixing, unjudged
    from thor_ray.grading.judge import AnswerJudge

    asked = AnswerJudge(_endpoint(endpoint, api_key, timeout), model)
    with _opened(evaluation, output) as place:
        if not overwrite:
            refuse_mixing(place.samples, model, lambda sample: sample.judge.judge if sample.judge else None)
        left = unjudged(place.samples, model)
        recorded = [sample for sample in left if sample.trajectory_id is not None]
        questions = {name: one.question for name, one in place.conversations(recorded).items()}
        if len(recorded) < len(left):
            place.say(f"{len(left) - len(recorded)} rows have no recorded trajectory: the judge sees no problem there")
        place.record("judging", len(left), judge_rows(left, questions, asked, concurrency))
        place.report("Second opinion")


def reward_model_of(
    directory: Path | None,
    endpoint: str | None,
    model: str | None,
    protocol: Protocol,
    *,
    concurrency: int = CONCURRENCY,
    batch_size: int = 8,
    timeout: float = TIMEOUT_SECONDS,
    api_key: str | None = None,
) -> "RewardModel":
    """The reward model that a command line names.

    Raises:
        UserError: it names none, two, or a server without a model.
        RewardModelError: the directory holds no reward model.
    """
    if (directory is None) == (endpoint is None):
        raise UserError("a reward model is needed", "name one by --reward-model or by --endpoint, one of both")
    if directory is not None:
        from thor_ray.evaluation.reward_models.classifier import RewardClassifier

        return RewardClassifier(directory, batch_size)
    if model is None:
        raise UserError("--endpoint needs the name of a model on that server", "`curl ENDPOINT/models` lists them")
    from thor_ray.evaluation.reward_models import RewardServer

    assert endpoint is not None, "one of the two is given"
    return RewardServer(_endpoint(endpoint, api_key, timeout), model, protocol, concurrency)


def _endpoint(url: str, api_key: str | None, timeout: float) -> "JsonEndpoint":
    from thor_ray.endpoints import JsonEndpoint

    try:
        return JsonEndpoint(url, api_key, timeout)
    except ValueError as error:
        raise UserError(str(error), "correct --endpoint") from error


@dataclass(frozen=True)
class _Place:
    """An evaluation that is being added to.

    Attributes:
        evaluation: Its rows before.
        run: Where the run lies that made it.
        rows: Its file of rows.
    """

    evaluation: "Evaluation"
    run: Path
    rows: Path

    @property
    def samples(self) -> "Sequence[EvaluationSample]":
        return self.evaluation.samples

    def say(self, text: str) -> None:
        """Tells people something that is no error."""
        from rich.console import Console
        from rich.text import Text

        Console().print(Text(text, "yellow"), soft_wrap=True)

    def conversations(self, samples: "Sequence[EvaluationSample]") -> "Mapping[str, Conversation]":
        """Question and response of rows with a trajectory, by its id.

        Raises:
            UserError: a trajectory, or the tokenizer to read it with, is not there.
        """
        wanted = {sample.trajectory_id for sample in samples if sample.trajectory_id is not None}
        if not wanted:
            return {}
        from actors.codec import TokenizerCodec
        from thor_ray.evaluation.rescoring import conversation_of, recorded_trajectories
        from thor_ray.run_directory import RunDirectory

        run = RunDirectory(self.run)
        decode_whole = run.decoder()
        if decode_whole is None:
            raise UserError(f"{self.run} has no tokenizer to read its trajectories with", "name a run's evaluation")
        codec = TokenizerCodec.from_directory(str(run.tokenizer))
        frame = codec.prompt_frame(run.recipe().policy.template)
        return {
            trajectory.id: conversation_of(trajectory, frame, codec.decode, decode_whole)
            for trajectory in recorded_trajectories(self.run, wanted)
        }

    def record(self, doing: str, total: int, batches: "Iterator[list[EvaluationSample]]") -> None:
        """Appends rows as they come, each in place of its former self."""
        from thor_ray.evaluation.store import SampleLog
        from thor_ray.progress import Progress

        with SampleLog(self.rows) as log, Progress() as progress, progress.stage(doing, total) as bar:
            for batch in batches:
                for sample in batch:
                    log.append(sample)
                bar.reach(bar.done + len(batch))

    def report(self, *titles: str) -> None:
        """Writes the reports anew, and prints the accuracy and some sections more."""
        from rich.console import Console

        from thor_ray.evaluation.analysis import evaluation_report
        from thor_ray.evaluation.answers import graded_equal
        from thor_ray.evaluation.evaluation_tables import evaluation_sections
        from thor_ray.evaluation.store import read_samples
        from thor_ray.evaluation.writers import write_evaluation
        from thor_ray.grading import GraderPool

        samples, about = read_samples(self.rows), self.evaluation.about
        with GraderPool() as grader:
            built = evaluation_report(samples, about, equivalent=graded_equal(grader.grade_answer))
        console = Console()
        shown = {"Accuracy", *titles}
        print_sections([section for section in evaluation_sections(built) if section.title in shown], console)
        for path in write_evaluation(self.rows.parent, built):
            console.print(str(path), highlight=False, soft_wrap=True)


@contextmanager
def _opened(name: str, output: Path | None) -> "Iterator[_Place]":
    """The evaluation of this name, or a copy of it, for adding to; nobody else writes it meanwhile.

    Raises:
        UserError: it has no rows of its own, and no copy was asked for; or the copy is of something else.
        RunLockedError: another process writes it.
    """
    from thor_ray.evaluation.sources import Evaluation, place_of
    from thor_ray.evaluation.store import EvaluationDirectory, write_samples
    from thor_ray.run_lock import RunLock

    place, found = place_of(name), _found(name)
    rows = place.rows
    if output is not None:
        directory = EvaluationDirectory(output)
        rows = directory.samples_file
        if rows.is_file():
            directory.resume(found.about)
        else:
            directory.create(found.about)
            write_samples(rows, found.samples)
        found = Evaluation(found.about, directory.samples())
    if rows is None:
        raise UserError(f"{name} has no file of rows to add to", "give the directory of a new evaluation by --output")
    lock = RunLock((output or place.run) / ".lock")
    try:
        yield _Place(found, place.run, rows)
    finally:
        lock.release()


def _found(name: str) -> "Evaluation":
    """The rows of this name, of all repair strategies together where it names none of them."""
    from thor_ray.evaluation.sources import Evaluation, find_evaluation, place_of
    from thor_ray.evaluation.store import EvaluationDirectory

    place = place_of(name)
    directory = None if place.rows is None else EvaluationDirectory(place.rows.parent)
    if directory is None or place.part is not None or not directory.about_file.is_file():
        return find_evaluation(name)
    return Evaluation(directory.about(), directory.samples())
