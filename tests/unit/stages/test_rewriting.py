"""The loop of algorithm 1: the generator goes on behind what the refiner has rewritten, and knows what was printed."""

from collections.abc import Sequence

import pytest

from actors.codec import TokenizerCodec
from thor_ray.demonstrations import Source
from thor_ray.grading import GraderPool
from thor_ray.problems import Problem
from thor_ray.refine import Passage, Refinement, Refiner, Surroundings, Verdict
from thor_ray.stages.rewriting import Rewriter
from thor_ray.tiny import base_model_path
from thor_ray.tirgen.generation import CutRules, FragmentCutter, LeftAlone
from thor_ray.trajectory import ExecutionResult, ExecutionStatus
from thor_ray.usage import Usage

PROBLEM = Problem("seats", "How many seats?", "84", "test")
USAGE = Usage(1, 10, 5, 0.5)


class Doubting:
    """A refiner that finds a program for one line only."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.amid: list[Surroundings] = []

    async def refine(self, step: str, seed: int) -> Refinement:
        self.seen.append(step)
        if "83" not in step:
            return Refinement(Verdict.NO_CODE, step, reason="none", origin="v1@x", usage=USAGE)
        passage = Passage("12 rows of 7 give\n", "print(12 * 7)", ExecutionResult(ExecutionStatus.OK, "84"), "83")
        return Refinement(Verdict.CODABLE, "12 rows of 7 give", passages=(passage,), origin="v1@x", usage=USAGE)

    def among(self, surroundings: Surroundings) -> Refiner:
        self.amid.append(surroundings)
        return self


class GoesOn:
    """A generator that remembers what it was asked to go on with."""

    usage = Usage()

    def __init__(self, codec: TokenizerCodec, text: str) -> None:
        self.prompts: list[str] = []
        self._codec, self._text = codec, text

    async def sample(self, prompts: Sequence[Sequence[int]], seed: int) -> list[str]:
        self.prompts += [self._codec.decode(prompt) for prompt in prompts]
        return [self._text] * len(prompts)


@pytest.fixture(scope="module")
def codec() -> TokenizerCodec:
    return TokenizerCodec.from_directory(str(base_model_path()))


@pytest.fixture(scope="module")
def grader():
    with GraderPool(workers=1) as pool:
        yield pool


def rewriter(codec: TokenizerCodec, grader: GraderPool, refiner: Doubting, **options: object) -> Rewriter:
    return Rewriter(refiner, None, grader, codec, codec.end_of_sequence, "bare", 5.0, **options)  # type: ignore[arg-type]


SOLUTION = "We count.\nThere are 12 * 7 = 83 seats.\nSo it is \\boxed{83}.\n"


async def test_the_generator_goes_on_behind_a_rewritten_step_with_the_true_output(codec, grader):
    refiner, generator = Doubting(), GoesOn(codec, "So it is \\boxed{84}.\n")
    made = await rewriter(codec, grader, refiner, generator=generator).demonstrate(
        PROBLEM, SOLUTION, Source.GENERATOR, "one", 0
    )
    (asked,) = generator.prompts
    assert asked.startswith(
        "How many seats?\nWe count.\n12 rows of 7 give\n```python\nprint(12 * 7)\n```\n```output\n84"
    )
    assert made.response.endswith("So it is \\boxed{84}.")
    assert "83" not in made.response
    assert made.trajectory.reward == 1.0
    assert refiner.seen == ["We count.", "There are 12 * 7 = 83 seats.", "So it is \\boxed{84}."]
    assert [step.verdict for step in made.steps] == ["no_code", "codable", "no_code"]
    assert [(claim.claimed, claim.observed) for claim in made.claims] == [("83", "84")]
    assert made.usage == Usage(3, 30, 15, 1.5)
    assert made.steps[0].reason == "none"
    assert {step.origin for step in made.steps} == {"v1@x"}


@pytest.mark.parametrize("source", list(Source))
async def test_without_a_generator_and_for_worked_solutions_the_rest_stays_as_it_was_written(codec, grader, source):
    generator = GoesOn(codec, "never")
    options = {} if source is Source.GENERATOR else {"generator": generator}
    made = await rewriter(codec, grader, Doubting(), **options).demonstrate(PROBLEM, SOLUTION, source, "one", 0)
    assert generator.prompts == []
    assert [step.text for step in made.steps] == SOLUTION.splitlines()


async def test_fragments_that_no_refiner_changes_are_written_word_for_word(codec, grader):
    solution = "We count,\n\nand  count.\n\nThen 5 is left. So it is $5$."
    cut = FragmentCutter(codec.encode, codec.decode, CutRules(8, 2), by_lines=False)
    made = await rewriter(codec, grader, Doubting(), cut=cut).demonstrate(PROBLEM, solution, Source.GENERATOR, "one", 0)
    assert made.response == codec.decode(codec.encode(solution))


async def test_nothing_behind_the_thinking_part_is_shown(codec, grader):
    refiner = Doubting()
    cut = FragmentCutter(codec.encode, codec.decode, CutRules(400, thinking=True), by_lines=False)
    made = await rewriter(codec, grader, refiner, cut=cut).demonstrate(
        PROBLEM, "I think.</think>\nIt is 84.", Source.GENERATOR, "one", 0
    )
    assert refiner.seen == ["I think.</think>"]
    assert (made.steps[1].verdict, made.steps[1].reason) == (Verdict.NOT_SHOWN, LeftAlone.AFTER_THINKING)


async def test_a_refiner_sees_what_stands_around_a_step_only_if_it_is_asked_to(codec, grader):
    refiner = Doubting()
    await rewriter(codec, grader, refiner, refiner_amid=refiner.among).demonstrate(
        PROBLEM, "One.\nTwo.", Source.GENERATOR, "one", 0
    )
    assert refiner.amid == [Surroundings("How many seats?", ""), Surroundings("How many seats?", "One.\n")]
