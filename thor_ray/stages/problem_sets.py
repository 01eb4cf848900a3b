"""Which problems a run asks, read or generated before anything is started."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from thor_ray.config import ProblemsConfig, ProblemSource, Recipe
from thor_ray.errors import UserError
from thor_ray.problems import FAMILIES, FieldNames, Problem, Split, generate, load_problems
from thor_ray.problems.decontamination import OverlapRule, index_test_sets

MIN_RESPONSE_TOKENS = 32
"""A prompt that leaves less room than this in the context cannot be answered and is left out."""

EncodePrompt = Callable[[str, str], list[int]]
"""Token ids of a prompt, from the name of its template and the question (`actors.codec.Codec.encode_prompt`)."""


@dataclass(frozen=True, slots=True)
class ProblemSets:
    """The problems of a run.

    Attributes:
        train: Asked by TIRGen and RL.
        heldout: Asked by evaluations only.
        too_long: How many were left out because their prompt does not fit the context.
        contaminated: How many training problems were left out because they are test problems.
    """

    train: tuple[Problem, ...]
    heldout: tuple[Problem, ...]
    too_long: int
    contaminated: int = 0


def read_problems(source: ProblemSource, split: Split, seed: int, data_dir: Path | None = None) -> list[Problem]:
    """All problems of a file, or as many generated ones as the source asks for, in the same order for the same seed.

    Raises:
        ProblemFileError: the file is missing, or one of its rows is no problem.
        UserError: the generated families cannot give as many as asked for.
    """
    if source.file is not None:
        names = FieldNames(source.question_field, source.answer_field)
        return load_problems(source.file, names=names, data_dir=data_dir)
    weights = source.families or dict.fromkeys(FAMILIES, 1.0)
    problems: list[Problem] = []
    try:
        for family, count in shares(weights, source.count).items():
            problems += generate([family], source.levels, count, seed, split)
    except ValueError as error:
        raise UserError(f"problems.{split}: {error}") from error
    Random(f"mix:{seed}:{split}").shuffle(problems)
    return problems


def heldout_problems(recipe: Recipe) -> list[Problem]:
    """What evaluations ask, whether or not it fits the policy's context. Raises as `read_problems`."""
    config = recipe.problems
    split: Split = "heldout" if config.heldout_part == "all" else config.heldout_part
    return read_problems(config.heldout, split, recipe.seed, config.data_dir)[: config.heldout.count]


def shares(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """Splits ``count`` in proportion to positive weights; what rounding leaves over goes to the largest remainders."""
    total = sum(weights.values())
    exact = {name: count * weight / total for name, weight in weights.items()}
    whole = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(weights, key=lambda name: whole[name] - exact[name])
    for name in by_remainder[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def fits(problem: Problem, recipe: Recipe, encode_prompt: EncodePrompt) -> bool:
    """Whether the prompt leaves room for a response in the policy's context."""
    prompt = encode_prompt(recipe.policy.template, problem.question)
    return len(prompt) + MIN_RESPONSE_TOKENS <= recipe.policy.max_context


def problem_sets(recipe: Recipe, encode_prompt: EncodePrompt) -> ProblemSets:
    """All problems of a run whose prompts fit the policy's context.

    Args:
        recipe: Sections ``problems``, ``policy`` and ``seed`` are used.
        encode_prompt: The policy's tokenizer.

    Raises:
        UserError: no problem is left, or a held-out one is a training problem as well.
    """
    config = recipe.problems
    found = read_problems(config.train, "train", recipe.seed, config.data_dir)
    clean = without_test_problems(found, config)
    read: dict[Split, list[Problem]] = {
        "train": clean[: config.train.count],
        "heldout": heldout_problems(recipe),
    }
    sets = {
        split: [problem for problem in problems if fits(problem, recipe, encode_prompt)]
        for split, problems in read.items()
    }
    for split, problems in sets.items():
        if not problems:
            raise UserError(
                f"problems.{split}: none of {len(read[split])} problems leaves {MIN_RESPONSE_TOKENS} tokens for a "
                f"response in policy.max_context {recipe.policy.max_context}",
                "raise policy.max_context or choose shorter problems",
            )
    _refuse_overlap(sets["train"], sets["heldout"])
    too_long = sum(len(read[split]) - len(sets[split]) for split in sets)
    return ProblemSets(tuple(sets["train"]), tuple(sets["heldout"]), too_long, len(found) - len(clean))


def without_test_problems(problems: Sequence[Problem], config: ProblemsConfig) -> list[Problem]:
    """Training problems less those that are in a test set of ``problems.decontamination.against``.

    Raises:
        ProblemFileError: a test set is not found or cannot be read.
        UserError: nothing is left.
    """
    rule = config.decontamination
    if not rule.against:
        return list(problems)
    index = index_test_sets(rule.against, OverlapRule(rule.ngram, rule.min_share), config.data_dir)
    clean = [problem for row, problem in enumerate(problems, start=1) if not index.overlaps(problem, row)]
    if not clean:
        raise UserError(
            f"problems.train: all {len(problems)} problems are in {', '.join(rule.against)}",
            "train on other problems; `thor problems decontaminate` shows which ones overlap",
        )
    return clean


def problem_batches(problems: Sequence[Problem], size: int, rounds: int, seed: int) -> Iterator[list[Problem]]:
    """``rounds`` batches; every problem comes once before any comes again, in an order of its own each time.

    Where fewer than ``size`` problems exist, a batch asks some of them twice.
    """
    queue: list[Problem] = []
    epoch = 0
    for _ in range(rounds):
        while len(queue) < size:
            queue += Random(f"{seed}:{epoch}").sample(list(problems), len(problems))
            epoch += 1
        batch, queue = queue[:size], queue[size:]
        yield batch


def _refuse_overlap(train: Sequence[Problem], heldout: Sequence[Problem]) -> None:
    trained_on = {problem.question for problem in train}
    shared = [problem for problem in heldout if problem.question in trained_on]
    if shared:
        raise UserError(
            f"{len(shared)} held-out problems are training problems as well, {shared[0].id} among them",
            "point problems.train and problems.heldout at files that share no question",
        )
