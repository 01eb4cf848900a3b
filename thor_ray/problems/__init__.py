r"""Mathematics problems with exact answers: generated families, problem files, data sets of the hub, benchmarks.

A generated problem carries a worked solution without code, one reasoning step a line: the first line
restates the operands and names the goal, one claim a line follows, and the last line boxes the answer.
A claim is a computation in plain notation with its result. Its grammar, by family:

=================  ========================================================================
family             claim
=================  ========================================================================
``gcd``            ``gcd(96, 60) = 12``, ``gcd(96, 60, 18) = 6`` (two or three numbers)
``lcm``            ``lcm(12, 18) = 36``, ``lcm(12, 18, 8) = 72`` (two or three numbers)
``modular_power``  ``7^13 mod 11 = 2``
``multiple_count`` ``count of multiples of 7 from 10 to 200 = 27`` (ends inclusive)
``multiple_sum``   ``sum of multiples of 7 from 10 to 30 = 63`` (ends inclusive)
``binomial``       ``C(12, 5) = 792``
``divisor_count``  ``tau(360) = 24``
``divisor_sum``    ``sigma(360) = 1170``
``nth_prime``      ``prime(25) = 97`` (``prime(1) = 2``)
``prime_count``    ``count of primes from 10 to 100 = 21`` (ends inclusive)
``digit_sum``      ``digit_sum(2^15) = 26``
``recurrence``     ``a(0) = 3, a(n) = 2*a(n-1) + 5: a(6) = 507``, or
                   ``a(0) = 1, a(1) = 3, a(n) = 2*a(n-1) + 5*a(n-2): a(6) = 1531``
``linear_system``  ``2x + 3y = 12, 4x - y = 10: x = 3``; a coefficient 1 is left out, the right side
                   may be negative, the result an integer or ``-7/3``
``arithmetic``     ``37 * 24 + 115 = 1003``, ``(12 + 30) * 24 - 8 = 1000``, ``7/12 + 5/18 = 31/36``
``composite``      two claims: ``gcd``, ``lcm`` or ``binomial`` with result v, then ``tau(v) = ...``,
                   ``sigma(v) = ...`` or ``digit_sum(v^2) = ...``
=================  ========================================================================

Numbers have no thousands separators. Every claim ends in ``= result``; the part before the last
``=`` says all that is needed to compute it.
"""

from thor_ray.problems.benchmarks import Benchmark, BenchmarkKind
from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.families import FAMILIES, LEVELS
from thor_ray.problems.fields import FieldNames
from thor_ray.problems.generate import Split, generate
from thor_ray.problems.problem import Problem
from thor_ray.problems.registry import BENCHMARKS, benchmark_named
from thor_ray.problems.sources import load_problems

__all__ = [
    "BENCHMARKS",
    "FAMILIES",
    "LEVELS",
    "Benchmark",
    "BenchmarkKind",
    "FieldNames",
    "Problem",
    "ProblemFileError",
    "Split",
    "benchmark_named",
    "generate",
    "load_problems",
]
