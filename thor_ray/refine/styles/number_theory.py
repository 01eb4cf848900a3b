"""Styles for divisors, primes and powers."""

from collections.abc import Mapping
from typing import Final

from thor_ray.refine.operations import OperationKind
from thor_ray.refine.styles.style import Style, flawed, right

STYLES: Final[Mapping[OperationKind, tuple[Style, ...]]] = {
    OperationKind.GCD: (
        right("math.gcd", "import math", "print(math.gcd({numbers}))"),
        right("gcd from math", "from math import gcd", "print(gcd({numbers}))"),
        right("sympy.igcd", "import sympy", "print(sympy.igcd({numbers}))"),
        right("sympy.gcd", "import sympy", "print(sympy.gcd([{numbers}]))"),
        flawed("fractions.gcd", "import fractions", "print(fractions.gcd({numbers}))"),
        flawed("gcd", "print(gcd({numbers}))"),
        flawed("math.hcf", "import math", "print(math.hcf({numbers}))"),
        flawed("sympy.gcf", "import sympy", "print(sympy.gcf({numbers}))"),
        flawed("a variable", "import math", "result = math.gcd({numbers})"),
    ),
    OperationKind.LCM: (
        right("math.lcm", "import math", "print(math.lcm({numbers}))"),
        right("lcm from math", "from math import lcm", "print(lcm({numbers}))"),
        right("sympy.ilcm", "import sympy", "print(sympy.ilcm({numbers}))"),
        right("sympy.lcm", "import sympy", "print(sympy.lcm([{numbers}]))"),
        flawed("fractions.lcm", "import fractions", "print(fractions.lcm({numbers}))"),
        flawed("lcm", "print(lcm({numbers}))"),
        flawed("math.lcd", "import math", "print(math.lcd({numbers}))"),
        flawed("sympy.least_multiple", "import sympy", "print(sympy.least_multiple({numbers}))"),
        flawed("a variable", "import math", "result = math.lcm({numbers})"),
    ),
    OperationKind.MODULAR_POWER: (
        right("pow", "print(pow({base}, {exponent}, {modulus}))"),
        right("sympy.Mod", "import sympy", "print(sympy.Mod({base} ** {exponent}, {modulus}))", exponent=4),
        right("operator.mod", "import operator", "print(operator.mod({base} ** {exponent}, {modulus}))", exponent=4),
        right(
            "a loop",
            "value = 1",
            "for _ in range({exponent}):",
            "    value = value * {base} % {modulus}",
            "print(value)",
            exponent=5,
        ),
        flawed("math.pow", "import math", "print(math.pow({base}, {exponent}, {modulus}))"),
        flawed("math.powmod", "import math", "print(math.powmod({base}, {exponent}, {modulus}))"),
        flawed("sympy.powmod", "import sympy", "print(sympy.powmod({base}, {exponent}, {modulus}))"),
        flawed("powmod", "print(powmod({base}, {exponent}, {modulus}))"),
        flawed("a variable", "result = pow({base}, {exponent}, {modulus})"),
    ),
    OperationKind.DIVISOR_COUNT: (
        right("sympy.divisor_count", "import sympy", "print(sympy.divisor_count({number}))"),
        right("sympy.divisors", "import sympy", "print(len(sympy.divisors({number})))"),
        right("divisor_count from sympy", "from sympy import divisor_count", "print(divisor_count({number}))"),
        right("range", "print(len([d for d in range(1, {number} + 1) if {number} % d == 0]))", number=6),
        flawed("sympy.count_divisors", "import sympy", "print(sympy.count_divisors({number}))"),
        flawed("math.divisors", "import math", "print(len(math.divisors({number})))"),
        flawed("divisors", "print(len(divisors({number})))"),
        flawed("xrange", "print(len([d for d in xrange(1, {number} + 1) if {number} % d == 0]))"),
        flawed("a variable", "import sympy", "result = sympy.divisor_count({number})"),
    ),
    OperationKind.DIVISOR_SUM: (
        right("sympy.divisor_sigma", "import sympy", "print(sympy.divisor_sigma({number}))"),
        right("sympy.divisors", "import sympy", "print(sum(sympy.divisors({number})))"),
        right("divisors from sympy", "from sympy import divisors", "print(sum(divisors({number})))"),
        right("range", "print(sum(d for d in range(1, {number} + 1) if {number} % d == 0))", number=6),
        flawed("sympy.sum_divisors", "import sympy", "print(sympy.sum_divisors({number}))"),
        flawed("math.divisors", "import math", "print(sum(math.divisors({number})))"),
        flawed("divisors", "print(sum(divisors({number})))"),
        flawed("xrange", "print(sum(d for d in xrange(1, {number} + 1) if {number} % d == 0))"),
        flawed("a variable", "import sympy", "result = sympy.divisor_sigma({number})"),
    ),
    OperationKind.NTH_PRIME: (
        right("sympy.prime", "import sympy", "print(sympy.prime({index}))"),
        right("prime from sympy", "from sympy import prime", "print(prime({index}))"),
        right("sympy.sieve", "import sympy", "print(sympy.sieve[{index}])", index=5),
        right(
            "sympy.nextprime",
            "import sympy",
            "p = 1",
            "for _ in range({index}):",
            "    p = sympy.nextprime(p)",
            "print(p)",
            index=4,
        ),
        flawed("sympy.nth_prime", "import sympy", "print(sympy.nth_prime({index}))"),
        flawed("math.prime", "import math", "print(math.prime({index}))"),
        flawed("prime", "print(prime({index}))"),
        flawed("sympy.primes", "import sympy", "print(sympy.primes[{index}])"),
        flawed("a variable", "import sympy", "result = sympy.prime({index})"),
    ),
    OperationKind.PRIME_COUNT: (
        right("sympy.primerange", "import sympy", "print(len(list(sympy.primerange({low}, {high} + 1))))", high=6),
        right("sympy.primepi", "import sympy", "print(sympy.primepi({high}) - sympy.primepi({low} - 1))"),
        right(
            "sympy.isprime", "import sympy", "print(sum(sympy.isprime(n) for n in range({low}, {high} + 1)))", high=5
        ),
        right(
            "primerange from sympy",
            "from sympy import primerange",
            "print(len(list(primerange({low}, {high} + 1))))",
            high=6,
        ),
        flawed("len of primerange", "import sympy", "print(len(sympy.primerange({low}, {high} + 1)))"),
        flawed("sympy.count_primes", "import sympy", "print(sympy.count_primes({low}, {high}))"),
        flawed("math.isprime", "import math", "print(sum(math.isprime(n) for n in range({low}, {high} + 1)))"),
        flawed("primerange", "print(len(list(primerange({low}, {high} + 1))))"),
        flawed("a variable", "import sympy", "result = len(list(sympy.primerange({low}, {high} + 1)))"),
    ),
    OperationKind.DIGIT_SUM: (
        right("str", "print(sum(int(d) for d in str({number})))"),
        right("map", "print(sum(map(int, str({number}))))"),
        right("sympy.ntheory", "from sympy.ntheory import digits", "print(sum(digits({number})[1:]))"),
        right(
            "a loop",
            "total = 0",
            "for digit in str({number}):",
            "    total += int(digit)",
            "print(total)",
        ),
        flawed("sum of str", "print(sum(str({number})))"),
        flawed("sum of a number", "print(sum({number}))"),
        flawed("sympy.digit_sum", "import sympy", "print(sympy.digit_sum({number}))"),
        flawed("math.digits", "import math", "print(sum(math.digits({number})))"),
        flawed("a variable", "result = sum(int(d) for d in str({number}))"),
    ),
}
"""Styles by kind, right ones first."""
