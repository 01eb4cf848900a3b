"""Small jobs that make libraries do their lazy imports in the zygote, once, instead of in every child."""

from __future__ import annotations

STANDARD_LIBRARY = (
    "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools", "heapq",
    "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "time", "typing",
)  # fmt: skip
"""What programs on mathematics import most; loaded into every zygote."""

_SYMPY = """
from sympy import *
x, y, n = symbols("x y n")
k = symbols("k", integer=True, positive=True)
f = Function("f")
lambdify(x, x**2)(2)
integrate(exp(-x**2), (x, -oo, oo)); integrate(sqrt(4 - x**2), x); integrate(x**2*sin(x), x); integrate(x**2, (x, 0, 1))
dsolve(f(x).diff(x) - 2*f(x)); series(sin(x)/x, x, 0, 3); limit(sin(x)/x, x, 0); diff(sin(x)*x, x); nsolve(cos(x) - x, 1)
summation(k, (k, 1, n)); summation(1/k**2, (k, 1, oo)); product(k, (k, 1, 4)); diophantine(2*x + 3*y - 5)
factorint(360); isprime(97); gcd(12, 18); binomial(5, 2); divisors(28); totient(10); fibonacci(10); mod_inverse(3, 7)
Matrix([[1, 2], [3, 4]]).det(); Matrix([[1, 2], [3, 4]]).inv(); Matrix([[2, 1], [1, 2]]).eigenvals()
Triangle(Point(0, 0), Point(3, 0), Point(0, 4)).area; Piecewise((x, x > 0), (0, True)).subs(x, 1); Abs(3 + 4*I); re((1 + I)**2)
trigsimp(sin(2*x)/cos(x)); radsimp(1/(sqrt(2) + 1)); minimal_polynomial(sqrt(2) + 1, x); apart(1/(x**2 - 1)); nsimplify(0.5)
solve_univariate_inequality(x**2 - 1 > 0, x); solveset(x**2 - 2, x, S.Reals); solve(sin(x) - 1, x); roots(x**3 - 1)
nonlinsolve([x**2 + y - 2, x - y], [x, y]); linsolve([x + y - 2, x - y], [x, y]); solve([x + y - 3, x - y - 1], [x, y])
Rational(1, 3) + Rational(1, 6); N(pi, 15); sqrt(8); latex(x**2/2); str(Eq(x, 1)); sympify("x + 1").subs(x, 2)
factor(x**3 - 1); expand((x + 1)**3); simplify(sin(x)**2 + cos(x)**2); str(solve(x**2 - 5*x + 6, x))
"""
"""What is used most comes last: the caches of the interpreter and of SymPy keep what they saw last."""

_NUMPY = """
import numpy
numpy.random.seed(0); numpy.linalg.solve(numpy.eye(2), numpy.ones(2)); str(numpy.arange(3.0)); numpy.roots([1, -3, 2])
"""

_SCIPY = """
import scipy.optimize, scipy.integrate
scipy.optimize.brentq(lambda x: x - 1, 0, 2); scipy.integrate.quad(lambda x: x, 0, 1)
"""

_JOBS = {"numpy": _NUMPY, "sympy": _SYMPY, "scipy": _SCIPY}


def warm_up(module: str) -> None:
    """Runs the job of a library that has just been imported; libraries without one need nothing."""
    exec(_JOBS.get(module, ""), {"__name__": "__warmup__"})
