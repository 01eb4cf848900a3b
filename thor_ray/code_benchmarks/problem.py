"""A programming task with tests, and what decides whether a program passes them."""

from dataclasses import dataclass
from enum import StrEnum

from thor_ray.problems.problem import Problem


class Rule(StrEnum):
    """When an output is right; ``inside.equality`` has the functions of these names."""

    EQUAL_OR_CLOSE = "equal_or_close"
    EQUAL_AS_SETS = "equal_as_sets"
    ANYTHING = "anything"
    EQUAL_OR_ZERO = "equal_or_zero"
    EQUALLY_NONE = "equally_none"
    PYRAMID_SURFACE = "pyramid_surface"
    DIGIT_DISTANCE = "digit_distance"
    POLYNOMIAL_ROOT = "polynomial_root"
    EQUAL_LISTS = "equal_lists"
    PRINTED_ALIKE = "printed_alike"

    @property
    def needs_arguments(self) -> bool:
        """Whether the arguments of a call decide with its output."""
        return self in (Rule.PYRAMID_SURFACE, Rule.DIGIT_DISTANCE, Rule.POLYNOMIAL_ROOT)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Tests call a function.

    Attributes:
        name: Of the function.
        owner: Class whose method it is, if the program defines that class; ``None`` for a function of the module.
    """

    name: str
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """Tests run the program, which reads standard input and prints."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests that pass or fail together.

    Attributes:
        name: ``base``, ``plus``; ``public``, ``private``.
        inputs: One for each test: a call's arguments (a list) in ``inside.notation`` as JSON, or a script's input.
        expected: The right outputs, as lines that ``inside.judge`` reads; ``None`` where the reference solution gives
            them.
    """

    name: str
    inputs: tuple[str, ...]
    expected: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.expected is not None and len(self.expected) != len(self.inputs):
            raise ValueError(f"suite {self.name}: {len(self.inputs)} inputs, but {len(self.expected)} outputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeProblem:
    """A programming task.

    Attributes:
        id: Unique within its benchmark.
        question: What the policy is asked, without any prompt template around it.
        source: Name of the benchmark or stem of the file.
        interface: How tests use the program.
        suites: Tests, in the order in which they run; a program passes if it passes all of them.
        rule: When an output is right.
        tolerance: Absolute, for numbers; 0 for none.
        opening: Code that a program continues which does not define the function itself.
        prelude: Code that runs ahead of every program, in its namespace.
        reference: A right program; ``None`` where the suites have their outputs.
        seconds: Of the processor's time for each test, where no reference says how long it takes.
        level: Difficulty as the source names it.

    Raises:
        ValueError: a suite's outputs are not known and cannot be, since there is no reference.
    """

    id: str
    question: str
    source: str
    interface: FunctionCall | Script
    suites: tuple[Suite, ...]
    rule: Rule = Rule.EQUAL_OR_CLOSE
    tolerance: float = 0.0
    opening: str = ""
    prelude: str = ""
    reference: str | None = None
    seconds: float = 6.0
    level: str | None = None

    def __post_init__(self) -> None:
        if self.reference is None and any(suite.expected is None for suite in self.suites):
            raise ValueError(f"{self.id}: neither outputs nor a reference solution")

    def to_problem(self) -> Problem:
        """What a policy is asked, without the tests; there is no gold answer."""
        return Problem(id=self.id, question=self.question, answer="", source=self.source)
