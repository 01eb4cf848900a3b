"""Styles for selections and for multiples in a range."""

from collections.abc import Mapping
from typing import Final

from thor_ray.refine.operations import OperationKind
from thor_ray.refine.styles.style import Style, flawed, right

STYLES: Final[Mapping[OperationKind, tuple[Style, ...]]] = {
    OperationKind.BINOMIAL: (
        right("math.comb", "import math", "print(math.comb({total}, {chosen}))"),
        right("comb from math", "from math import comb", "print(comb({total}, {chosen}))"),
        right("sympy.binomial", "import sympy", "print(sympy.binomial({total}, {chosen}))"),
        right("binomial from sympy", "from sympy import binomial", "print(binomial({total}, {chosen}))"),
        flawed("scipy.misc.comb", "from scipy.misc import comb", "print(comb({total}, {chosen}, exact=True))"),
        flawed("math.binomial", "import math", "print(math.binomial({total}, {chosen}))"),
        flawed("sympy.choose", "import sympy", "print(sympy.choose({total}, {chosen}))"),
        flawed("comb", "print(comb({total}, {chosen}))"),
        flawed("a variable", "import math", "result = math.comb({total}, {chosen})"),
    ),
    OperationKind.MULTIPLE_COUNT: (
        right("len", "print(len([n for n in range({low}, {high} + 1) if n % {step} == 0]))", high=6),
        right("sum", "print(sum(1 for n in range({low}, {high} + 1) if n % {step} == 0))", high=6),
        right(
            "filter",
            "multiples = filter(lambda n: n % {step} == 0, range({low}, {high} + 1))",
            "print(len(list(multiples)))",
            high=6,
        ),
        right(
            "a loop",
            "count = 0",
            "for n in range({low}, {high} + 1):",
            "    if n % {step} == 0:",
            "        count += 1",
            "print(count)",
            high=6,
        ),
        flawed("xrange", "print(len([n for n in xrange({low}, {high} + 1) if n % {step} == 0]))"),
        flawed("len of filter", "print(len(filter(lambda n: n % {step} == 0, range({low}, {high} + 1))))"),
        flawed("sympy.multiples", "import sympy", "print(len(sympy.multiples({step}, {low}, {high})))"),
        flawed("count", "print(count(n for n in range({low}, {high} + 1) if n % {step} == 0))"),
        flawed("a variable", "result = len([n for n in range({low}, {high} + 1) if n % {step} == 0])"),
    ),
    OperationKind.MULTIPLE_SUM: (
        right("sum", "print(sum(n for n in range({low}, {high} + 1) if n % {step} == 0))", high=6),
        right("a list", "print(sum([n for n in range({low}, {high} + 1) if n % {step} == 0]))", high=6),
        right("filter", "print(sum(filter(lambda n: n % {step} == 0, range({low}, {high} + 1))))", high=6),
        right(
            "a loop",
            "total = 0",
            "for n in range({low}, {high} + 1):",
            "    if n % {step} == 0:",
            "        total += n",
            "print(total)",
            high=6,
        ),
        flawed("xrange", "print(sum(n for n in xrange({low}, {high} + 1) if n % {step} == 0))"),
        flawed("math.sum", "import math", "print(math.sum(n for n in range({low}, {high} + 1) if n % {step} == 0))"),
        flawed("sympy.multiples", "import sympy", "print(sum(sympy.multiples({step}, {low}, {high})))"),
        flawed("a print statement", "print sum(n for n in range({low}, {high} + 1) if n % {step} == 0)"),
        flawed("a variable", "result = sum(n for n in range({low}, {high} + 1) if n % {step} == 0)"),
    ),
    OperationKind.PROGRESSION_SUM: (
        right(
            "sum of a range", "terms = range({first}, {last} + 1, {step})", "print(sum(term for term in terms))", last=7
        ),
        right(
            "a loop",
            "total = 0",
            "for term in range({first}, {last} + 1, {step}):",
            "    total += term",
            "print(total)",
            last=6,
        ),
        right(
            "sympy.summation",
            "import sympy",
            'n = sympy.symbols("n")',
            "terms = ({last} - {first}) // {step}",
            "print(sympy.summation({first} + {step} * n, (n, 0, terms)))",
        ),
        flawed("xrange", "print(sum(xrange({first}, {last} + 1, {step})))"),
        flawed("math.sum", "import math", "print(math.sum(range({first}, {last} + 1, {step})))"),
        flawed("sympy.arithmetic_sum", "import sympy", "print(sympy.arithmetic_sum({first}, {last}, {step}))"),
        flawed("a variable", "result = sum(range({first}, {last} + 1, {step}))"),
    ),
}
"""Styles by kind, right ones first."""
