"""What an evaluation is going to ask, in which ways and how often, read and checked before anything is started."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.codec import TokenizerCodec
from actors.program_scorer import ProgramScorer
from actors.scorers import AnswerScorer, Scorer
from thor_ray import __version__
from thor_ray.code_benchmarks import CodeProblem, load_code_problems
from thor_ray.config import Recipe
from thor_ray.config.inference import USUAL_SAMPLES
from thor_ray.errors import UserError
from thor_ray.evaluation.figures import About
from thor_ray.evaluation.samples import SampleKey, strategy_name
from thor_ray.evaluation.sources import benchmark_of, policy_settings
from thor_ray.grading import EXACT, GradingPolicy
from thor_ray.grading.pool import GRADER_VERSION
from thor_ray.problems import BenchmarkKind, Problem, benchmark_named, load_problems
from thor_ray.stages.plan import policy_directory
from thor_ray.stages.problem_sets import EncodePrompt, fits, heldout_problems


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Problems that share a table of results.

    Attributes:
        name: Of the benchmark.
        problems: Those whose prompt fits the policy's context, at least one.
        samples: Of each problem.
        grading: What the benchmark allows its graders.
        too_long: How many were left out because their prompt does not fit.
        tasks: Tests of the problems by their ids, of code benchmarks.
    """

    name: str
    problems: tuple[Problem, ...]
    samples: int
    grading: GradingPolicy
    too_long: int
    tasks: Mapping[str, CodeProblem] = field(default_factory=dict)

    def scorer(self, problem: Problem) -> Scorer:
        """How a solution of one of the problems is judged."""
        task = self.tasks.get(problem.id)
        return AnswerScorer(problem.answer, self.grading) if task is None else ProgramScorer(task)

    def description(self) -> str:
        """What decides the figures, for people; it tells sets apart that differ in one letter."""
        digest = hashlib.sha256()
        for problem in self.problems:
            digest.update(
                "\x1f".join((problem.id, problem.question, problem.answer)).encode("utf-8", "backslashreplace")
            )
        tolerance = self.grading.relative_tolerance
        allowed = "exact" if tolerance is None else f"numbers within {float(tolerance) * 100:g} %"
        allowed = "by tests" if self.tasks else allowed
        left_out = f", {self.too_long} left out as too long for the context" if self.too_long else ""
        return f"{len(self.problems)} problems × {self.samples}{left_out}; {allowed}; SHA-256 {digest.hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """An evaluation that can be started.

    Attributes:
        recipe: The resolved recipe; its section ``evaluation`` decides.
        model: Directory of the policy.
        sets: What is asked.
    """

    recipe: Recipe
    model: Path
    sets: tuple[EvaluationSet, ...]

    def samples(self) -> Iterator[tuple[SampleKey, Problem, EvaluationSet]]:
        """Everything to be sampled, samples of one problem next to each other."""
        for strategy in self.recipe.evaluation.strategies:
            for one in self.sets:
                for problem in one.problems:
                    for index in range(one.samples):
                        yield SampleKey(one.name, strategy, problem.id, index), problem, one

    @property
    def size(self) -> int:
        """How many samples there are."""
        return len(self.recipe.evaluation.strategies) * sum(len(one.problems) * one.samples for one in self.sets)

    def about(self, path: Path) -> About:
        """What is evaluated, and how; a resumed evaluation must agree with it.

        Args:
            path: The run directory.
        """
        evaluation = self.recipe.evaluation
        settings = {
            **policy_settings(self.recipe),
            "weights": f"SHA-256 {weights_digest(self.model)[:16]}",
            "self-correction": ", ".join(map(strategy_name, evaluation.strategies)),
            "seed": str(self.recipe.seed),
            "grader": f"rules, version {GRADER_VERSION}",
            "thor-ray": __version__,
            **{f"problems of {one.name}": one.description() for one in self.sets},
        }
        if any(evaluation.strategies):
            correction = evaluation.correction
            settings["correction"] = f"{correction.attempts} attempts, suffix of {correction.suffix_tokens} tokens"
        return About(name=path.resolve().name, source=str(path), settings=settings)


def make_evaluation_plan(recipe: Recipe) -> EvaluationPlan:
    """Reads everything that an evaluation depends on.

    Raises:
        PreflightError: the policy is not whole, or was trained with other prompts.
        ProblemFileError: a problem file is missing, or is none.
        UserError: there is no such benchmark, or no problem fits the policy's context.
    """
    model = policy_directory(recipe)
    encode_prompt = TokenizerCodec.from_directory(str(model)).encode_prompt
    names = recipe.evaluation.benchmarks
    if not names:
        asked = _set(benchmark_of(recipe), heldout_problems(recipe), recipe, encode_prompt)
        return EvaluationPlan(recipe, model, (asked,))
    known = [benchmark_named(name) for name in names]
    for name, benchmark in zip(names, known, strict=True):
        if benchmark is None:
            raise UserError(f"there is no benchmark {name!r}", "`thor problems list` shows those that are registered")
    titles = [benchmark.name for benchmark in known if benchmark is not None]
    if len(set(titles)) < len(titles):
        raise UserError(f"one benchmark is named twice: {', '.join(names)}", "name each once")
    return EvaluationPlan(recipe, model, tuple(_benchmark_set(title, recipe, encode_prompt) for title in titles))


def weights_digest(model: Path) -> str:
    """SHA-256 over the files that decide what a policy says, so that no other policy can take its place unseen."""
    digest = hashlib.sha256()
    for path in sorted([*model.glob("*.safetensors"), *model.glob("*.json")]):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def print_evaluation_plan(plan: EvaluationPlan, console: Console) -> None:
    """Prints how much is sampled, and by what."""
    recipe = plan.recipe
    rows = {
        "policy": f"{plan.model}, {recipe.policy.dtype}, context {recipe.policy.max_context} tokens, prompt template "
        f"{recipe.policy.template}",
        "actors": f"{recipe.engine.actors} × engine (TP {recipe.engine.tensor_parallel})",
        **{one.name: one.description() for one in plan.sets},
        "self-correction": ", ".join(map(strategy_name, recipe.evaluation.strategies)),
        "in all": f"{plan.size:,} samples",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(f"[bold]{escape(name)}", escape(value))
    console.print(table)


def _benchmark_set(name: str, recipe: Recipe, encode_prompt: EncodePrompt) -> EvaluationSet:
    """A registered benchmark's problems, of answers or of programs."""
    data_dir = recipe.problems.data_dir
    benchmark = benchmark_named(name)
    if benchmark is None or benchmark.kind is not BenchmarkKind.CODE:
        return _set(name, load_problems(name, data_dir=data_dir), recipe, encode_prompt)
    if recipe.evaluation.sampling.max_rounds == 0:
        raise UserError(
            f"{name} asks for programs, but evaluation.sampling.max_rounds is 0: the fence of a program ends the response",
            "set evaluation.sampling.max_rounds to 1 at least",
        )
    tasks = {task.id: task for task in load_code_problems(name, data_dir)}
    asked = _set(name, [task.to_problem() for task in tasks.values()], recipe, encode_prompt)
    return replace(asked, tasks=tasks)


def _set(name: str, problems: list[Problem], recipe: Recipe, encode_prompt: EncodePrompt) -> EvaluationSet:
    known = benchmark_named(name)
    fitting = tuple(problem for problem in problems if fits(problem, recipe, encode_prompt))
    if not fitting:
        raise UserError(
            f"none of {len(problems)} problems of {name} leaves room for a response in policy.max_context "
            f"{recipe.policy.max_context}",
            "raise policy.max_context or choose shorter problems",
        )
    samples = recipe.evaluation.samples(USUAL_SAMPLES if known is None else known.samples)
    return EvaluationSet(
        name, fitting, samples, EXACT if known is None else known.grading, len(problems) - len(fitting)
    )
