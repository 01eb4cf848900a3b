"""Styles for arithmetic, recurrences and linear systems."""

from collections.abc import Mapping
from typing import Final

from thor_ray.refine.operations import OperationKind
from thor_ray.refine.styles.style import Style, flawed, right

_UNKNOWNS: Final = '{x}, {y} = sympy.symbols("{x} {y}")'
_EQUATIONS: Final = "[{first_equation}, {second_equation}]"

STYLES: Final[Mapping[OperationKind, tuple[Style, ...]]] = {
    OperationKind.INTEGER_ARITHMETIC: (
        right("sympy.sympify", "import sympy", 'print(sympy.sympify("{expression}"))'),
        right("sympy.Integer", "import sympy", "print(sympy.Integer({expression}))"),
        right("Fraction", "from fractions import Fraction", "print(Fraction({expression}))"),
        right("Decimal", "from decimal import Decimal", "print(Decimal({expression}))"),
        flawed("sympify", 'print(sympify("{expression}"))'),
        flawed("a print statement", "print {expression}"),
        flawed("math.evaluate", "import math", 'print(math.evaluate("{expression}"))'),
        flawed("long", "print(long({expression}))"),
        flawed("a variable", "result = {expression}"),
    ),
    OperationKind.RATIONAL_ARITHMETIC: (
        right("Fraction", "from fractions import Fraction", "print({fraction})"),
        right("sympy.Rational", "import sympy", "print({rational})"),
        right("sympy.nsimplify", "import sympy", 'print(sympy.nsimplify("{plain}"))'),
        right("fractions", "from fractions import *", "print({fraction})"),
        flawed("Fraction from math", "from math import Fraction", "print({fraction})"),
        flawed("bare Fraction", "print({fraction})"),
        flawed("math.evaluate", "import math", 'print(math.evaluate("{plain}"))'),
        flawed("sympy.fraction_sum", "import sympy", 'print(sympy.fraction_sum("{plain}"))'),
        flawed("a variable", "from fractions import Fraction", "result = {fraction}"),
    ),
    OperationKind.DECIMAL_ARITHMETIC: (
        right(
            "Fraction and round",
            "from fractions import Fraction",
            "value = {fraction}",
            "print(round(float(value), {digits}))",
        ),
        right(
            "sympy.Rational and round",
            "import sympy",
            "value = {rational}",
            "print(round(float(value), {digits}))",
        ),
        right(
            "sympy.nsimplify and round",
            "import sympy",
            'value = sympy.nsimplify("{plain}", rational=True)',
            "print(round(float(value), {digits}))",
        ),
        flawed("math.round", "import math", "print(math.round({plain}, {digits}))"),
        flawed("bare Fraction", "print(round({fraction}, {digits}))"),
        flawed("round without a float", "from fractions import Fraction", "print(round(float[{fraction}], {digits}))"),
        flawed("a variable", "from fractions import Fraction", "result = round(float({fraction}), {digits})"),
    ),
    OperationKind.RADICALS: (
        right("sympy.nsimplify", "import sympy", "print(sympy.nsimplify(sympy.expand({expression})))"),
        right(
            "sympy.radsimp",
            "import sympy",
            "value = sympy.expand({expression})",
            "print(sympy.radsimp(sympy.sqrtdenest(sympy.nsimplify(value))))",
        ),
        flawed("sqrt", "print({expression}, sqrt)"),
        flawed("math.simplify", "import math, sympy", "print(math.simplify({expression}))"),
        flawed("a variable", "import sympy", "result = sympy.nsimplify({expression})"),
    ),
    OperationKind.NAMED_FUNCTIONS: (
        right("sympy", "import sympy", "print({expression})"),
        right("sympy.simplify", "import sympy", "print(sympy.simplify({expression}))"),
        flawed("no import", "print({expression})"),
        flawed("math.evaluate", "import math, sympy", "print(math.evaluate({expression}))"),
        flawed("a variable", "import sympy", "result = {expression}"),
    ),
    OperationKind.RECURRENCE: (
        right(
            "a list",
            "a = [{starts}]",
            "for n in range({known}, {index} + 1):",
            "    a.append({rule_of_list})",
            "print(a[{index}])",
            index=4,
        ),
        right(
            "a function",
            "def a(n):",
            "    return [{starts}][n] if n < {known} else {rule_of_function}",
            "print(a({index}))",
            index=1,
        ),
        right(
            "functools.cache",
            "from functools import cache",
            "@cache",
            "def a(n):",
            "    return [{starts}][n] if n < {known} else {rule_of_function}",
            "print(a({index}))",
            index=2,
        ),
        flawed(
            "list items",
            "a = [{starts}]",
            "for n in range({known}, {index} + 1):",
            "    a[n] = {rule_of_list}",
            "print(a[{index}])",
        ),
        flawed(
            "xrange",
            "a = [{starts}]",
            "for n in xrange({known}, {index} + 1):",
            "    a.append({rule_of_list})",
            "print(a[{index}])",
        ),
        flawed("bare recursion", "def a(n):", "    return {rule_of_function}", "print(a({index}))"),
        flawed("sympy.recurrence", "import sympy", 'print(sympy.recurrence("{rule_of_function}", {index}))'),
        flawed(
            "a variable",
            "a = [{starts}]",
            "for n in range({known}, {index} + 1):",
            "    a.append({rule_of_list})",
        ),
    ),
    OperationKind.LINEAR_EQUATION: (
        right(
            "sympy.solve",
            "import sympy",
            '{unknown} = sympy.symbols("{unknown}")',
            "print(sympy.solve(sympy.Eq({left}, {right}), {unknown})[0])",
        ),
        right(
            "sympy.solveset",
            "import sympy",
            '{unknown} = sympy.symbols("{unknown}")',
            "(solution,) = sympy.solveset({left} - ({right}), {unknown})",
            "print(solution)",
        ),
        flawed("sympy.solve_linear_equation", "import sympy", "print(sympy.solve_linear_equation({left} - ({right})))"),
        flawed("bare solve", "import sympy", "print(solve({left} - ({right})))"),
        flawed(
            "undefined symbols",
            "import sympy",
            "print(sympy.solve(sympy.Eq({left}, {right}))[0], {unknown}_)",
        ),
        flawed(
            "a variable",
            "import sympy",
            '{unknown} = sympy.symbols("{unknown}")',
            "result = sympy.solve(sympy.Eq({left}, {right}), {unknown})[0]",
        ),
    ),
    OperationKind.LINEAR_SYSTEM: (
        right(
            "sympy.solve",
            "import sympy",
            _UNKNOWNS,
            f"print(sympy.solve({_EQUATIONS}, [{{x}}, {{y}}])[{{unknown}}])",
        ),
        right(
            "sympy.linsolve",
            "import sympy",
            _UNKNOWNS,
            f"print(list(sympy.linsolve({_EQUATIONS}, {{x}}, {{y}}))[0][{{position}}])",
        ),
        right(
            "sympy.Matrix",
            "import sympy",
            "matrix = sympy.Matrix([[{first_coefficients}], [{second_coefficients}]])",
            "print(matrix.solve(sympy.Matrix([{first_right}, {second_right}]))[{position}])",
        ),
        right(
            "Fraction",
            "from fractions import Fraction",
            "print(Fraction({first_right} * {second_other} - {second_right} * {first_other}, "
            "{first_sought} * {second_other} - {second_sought} * {first_other}))",
        ),
        flawed("sympy.linear_solve", "import sympy", f'print(sympy.linear_solve("{_EQUATIONS}")[{{unknown}}])'),
        flawed("solve from sympy", "from sympy import solve", f"print(solve({_EQUATIONS}, [{{x}}, {{y}}]))"),
        flawed("math.solve", "import math", f'print(math.solve("{_EQUATIONS}"))'),
        flawed(
            "sympy.unknowns",
            "import sympy",
            '{x}, {y} = sympy.unknowns("{x} {y}")',
            f"print(sympy.solve({_EQUATIONS})[{{unknown}}])",
        ),
        flawed(
            "a variable",
            "import sympy",
            _UNKNOWNS,
            f"result = sympy.solve({_EQUATIONS}, [{{x}}, {{y}}])[{{unknown}}]",
        ),
    ),
}
"""Styles by kind, right ones first."""
