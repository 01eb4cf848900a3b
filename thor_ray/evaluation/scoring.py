"""Recorded responses become an evaluation: read, checked, graded and recorded, then reported like any other."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from thor_ray.errors import UserError
from thor_ray.evaluation.figures import About
from thor_ray.evaluation.responses import RecordedResponse, grade_responses, read_responses
from thor_ray.evaluation.samples import EvaluationSample
from thor_ray.evaluation.store import EvaluationDirectory, SampleLog
from thor_ray.grading import Grade, GraderPool
from thor_ray.grading.policy import EXACT, GradingPolicy
from thor_ray.grading.pool import GRADER_VERSION
from thor_ray.problems import Problem, benchmark_named, load_problems


@dataclass(frozen=True, slots=True)
class Scoring:
    """Responses that can be graded.

    Attributes:
        about: What is evaluated, and how.
        benchmark: What to call the set of problems.
        problems: By id.
        responses: At least one.
        unanswered: Problems without a response; they are missing from every figure.
        policy: What the benchmark allows its graders.
    """

    about: About
    benchmark: str
    problems: dict[str, Problem]
    responses: list[RecordedResponse]
    unanswered: int
    policy: GradingPolicy


def prepare_scoring(responses: Path, source: str | Path, name: str, data_dir: Path | None = None) -> Scoring:
    """Reads responses and their problems; nothing is graded yet.

    Args:
        responses: A file as `responses` describes.
        source: The name of a registered benchmark, or a problem file.
        name: What to call the evaluation.
        data_dir: Where benchmark files lie.

    Raises:
        ProblemFileError: the problems cannot be read.
        UserError: the responses cannot, or answer other problems; or there is no such benchmark.
    """
    known = benchmark_named(source) if isinstance(source, str) else None
    if isinstance(source, str) and known is None:
        raise UserError(f"there is no benchmark {source!r}", "name a registered one, or a file by --problems")
    problems = {problem.id: problem for problem in load_problems(source, data_dir=data_dir)}
    read = read_responses(responses, problems)
    policy = EXACT if known is None else known.grading
    tolerance = policy.relative_tolerance
    allowed = "exact" if tolerance is None else f"numbers within {float(tolerance) * 100:g} %"
    settings = {
        "responses": f"{responses}, SHA-256 {hashlib.sha256(responses.read_bytes()).hexdigest()[:16]}",
        "problems": str(source),
        "grader": f"rules, version {GRADER_VERSION}, {allowed}",
    }
    if unanswered := len(problems) - len({response.problem_id for response in read}):
        settings["problems without a response"] = f"{unanswered} of {len(problems)}, missing from every figure"
    benchmark = next(iter(problems.values())).source if known is None else known.name
    about = About(name=name, source=str(responses), settings=settings)
    return Scoring(about, benchmark, problems, read, unanswered, policy)


def score(
    scoring: Scoring,
    directory: EvaluationDirectory,
    grader: GraderPool,
    on_sample: Callable[[EvaluationSample], None] | None = None,
) -> list[EvaluationSample]:
    """Grades the responses that have no row yet, and records them.

    Args:
        scoring: What `prepare_scoring` read.
        directory: Of an evaluation that was created for it, or is gone on with.
        grader: Grades.
        on_sample: Called with each new row.

    Returns:
        All rows, those of earlier attempts included.

    Raises:
        DiskFullError: no room.
    """
    with SampleLog(directory.samples_file) as log:
        done = {(key.problem_id, key.sample_index) for key in log.done}
        left = [one for one in scoring.responses if (one.problem_id, one.sample_index) not in done]

        def grade_many(pairs: Sequence[tuple[str, str]]) -> list[Grade]:
            return grader.grade_many(pairs, scoring.policy)

        for sample in grade_responses(left, scoring.problems, scoring.benchmark, grade_many, log.attempt):
            log.append(sample)
            if on_sample is not None:
                on_sample(sample)
    return directory.samples()
