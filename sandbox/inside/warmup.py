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
solve(x**2 - 5*x + 6, x); solve([x + y - 3, x - y - 1], [x, y]); solveset(x**2 - 2, x, S.Reals)
simplify(sin(x)**2 + cos(x)**2); expand((x + 1)**3); factor(x**3 - 1); apart(1/(x**2 - 1)); nsimplify(0.5)
integrate(x*exp(x), x); integrate(x**2, (x, 0, 1)); diff(sin(x)*x, x); limit(sin(x)/x, x, 0); series(exp(x), x, 0, 3)
summation(k, (k, 1, n)); factorint(360); isprime(97); gcd(12, 18); binomial(5, 2); divisors(28); totient(10)
Matrix([[1, 2], [3, 4]]).det(); Matrix([[1, 2], [3, 4]]).inv(); Rational(1, 3) + Rational(1, 6)
N(pi, 15); sqrt(8); latex(x**2/2); str(Eq(x, 1)); sympify("x + 1").subs(x, 2); lambdify(x, x**2)(2)
"""

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
