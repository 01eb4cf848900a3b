"""What the tiny policy's base model reads: worked solutions, number copying and arithmetic, all in plain text.

Nothing here calls a tool or shows a program, and everything comes from the train split of the problem families.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from thor_ray.problems import FAMILIES, LEVELS, Problem, generate
from thor_ray.problems.families.base import enumeration

CORPUS_FAMILIES: Final = tuple(name for name in FAMILIES if name != "chain")
"""What the base policy has read. Chains are left out, so that one family is new to whoever begins with it."""

_NAMES = ("Ann", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gia", "Hugo")
_WARM_UP = "Warm up first."


@dataclass(frozen=True, slots=True)
class Document:
    """One text to learn, cut where copying begins and ends.

    Attributes:
        given: Text that states numbers: a question with its final newline.
        copied: Text whose digits all stand in ``given``: the restated operands. May be empty.
        rest: What follows; the end-of-text token comes after it.
    """

    given: str
    copied: str
    rest: str


def solution_document(problem: Problem) -> Document:
    """A question in the ``bare`` prompt template and its worked solution.

    Raises:
        ValueError: The problem has no solution.
    """
    if problem.solution is None:
        raise ValueError(f"problem {problem.id} has no worked solution to learn from")
    restatement, newline, rest = problem.solution.partition("\n")
    return Document(problem.question + "\n", restatement + newline, rest)


def documents(seed: int, chunk_size: int = 2048) -> Iterator[Document]:
    """An endless, seeded stream of documents: seven of ten are worked solutions, the others drills."""
    chunk = 0
    while True:
        rng = Random(f"documents:{seed}:{chunk}")
        solutions = (7 * chunk_size) // 10
        problems = generate(CORPUS_FAMILIES, LEVELS, solutions, rng.getrandbits(32), "train")
        drawn = [
            _with_warm_up(rng, problem) if rng.random() < 0.12 else solution_document(problem) for problem in problems
        ]
        drawn += [rng.choice(_DRILLS)(rng) for _ in range(chunk_size - solutions)]
        rng.shuffle(drawn)
        yield from drawn
        chunk += 1


def _number(rng: Random) -> int:
    """A number with one to six digits, each length equally often up to four."""
    digits = rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6))
    return rng.randrange(10 ** (digits - 1), 10**digits)


def _fact(rng: Random) -> str:
    """A short sum, difference or product with its result."""
    first, second = rng.randint(2, 99), rng.randint(2, 99)
    match rng.randrange(3):
        case 0:
            return f"{first} + {second} = {first + second}"
        case 1:
            return f"{first + second} - {second} = {first}"
        case _:
            return f"{first % 12 + 1} * {second} = {(first % 12 + 1) * second}"


def _with_warm_up(rng: Random, problem: Problem) -> Document:
    """A solution with unrelated arithmetic in between: copies must reach further back, past other numbers."""
    facts = "".join(_fact(rng) + "\n" for _ in range(rng.randint(1, 5)))
    plain = solution_document(problem)
    return Document(f"{problem.question} {_WARM_UP}\n{facts}", plain.copied, plain.rest)


def _list_drill(rng: Random) -> Document:
    """A list of numbers, written down again in the same or the reverse order."""
    numbers = tuple(_number(rng) for _ in range(rng.randint(2, 7)))
    given = f"The numbers are {enumeration(numbers)}.\n"
    if rng.random() < 0.7:
        return Document(given, f"Once more: {enumeration(numbers)}.", "")
    return Document(given, f"In reverse order: {enumeration(numbers[::-1])}.", "")


def _look_up_drill(rng: Random) -> Document:
    """Numbers that belong to names, asked for in another order."""
    names = rng.sample(_NAMES, rng.randint(2, 5))
    owned = {name: _number(rng) for name in names}
    asked = rng.sample(names, len(names))
    given = ", ".join(f"{name} has {number}" for name, number in owned.items())
    copied = " ".join(f"{name} has {owned[name]}." for name in asked)
    return Document(f"{given}.\n", copied, "")


def _long_number_drill(rng: Random) -> Document:
    """One number of up to sixteen digits, boxed."""
    number = rng.randrange(10 ** rng.randint(3, 15), 10**16) if rng.random() < 0.3 else _number(rng)
    return Document(f"The value is {number}\n", rf"The answer is \boxed{{{number}}}.", "")


def _arithmetic_drill(rng: Random) -> Document:
    """A few facts, one a line; nothing to copy."""
    return Document("", "", "\n".join(_fact(rng) for _ in range(rng.randint(2, 6))))


_DRILLS: tuple[Callable[[Random], Document], ...] = (
    _list_drill,
    _list_drill,
    _look_up_drill,
    _long_number_drill,
    _arithmetic_drill,
)
