"""Cases whose text is too long, or made of characters too odd, to be written down in a table."""

from __future__ import annotations

from signal import SIGSEGV

from sandbox import Status
from tests.integration.sandbox.attacks.case import Case, Mode, Outcome

_TIMEOUT, _OK = Outcome(Status.TIMEOUT), Outcome(Status.OK)
_DEEP = (
    Outcome(Status.RUNTIME_ERROR),
    Outcome(Status.SYNTAX_ERROR),
    Outcome(Status.MEMORY_LIMIT),
    Outcome(Status.CRASH, signal=SIGSEGV),
    _TIMEOUT,
)
"""How a program that is too deep for the compiler may end."""


def _prints(text: str) -> Outcome:
    return Outcome(Status.OK, stdout=text)


def _refused(*names: str) -> Outcome:
    """Does not compile, for one of these reasons."""
    return Outcome(Status.SYNTAX_ERROR, stdout="", exc_types=names)


_LONG = (
    Case("24", "sixty thousand bytes", "print('x' * 60_000)", (_prints("x" * 60_000 + "\n"),)),
    Case("24", "sixty thousand bytes of wide characters", "print('é∑' * 12_000)", (_prints("é∑" * 12_000 + "\n"),)),
    Case("29", "five thousand parentheses", "(" * 5000 + ")" * 5000, (_refused("SyntaxError"),)),
    Case("29", "two hundred thousand signs", "-" * 200_000 + "1", _DEEP),
    Case("29", "a long chain of attributes", "x" + ".x" * 100_000, _DEEP),
    Case("29", "a long chain of additions", "print(" + "+".join("1" * 20_000) + ")", (*_DEEP, _OK)),
    Case("29", "a number too long to read", "x = " + "9" * 10_000, (_refused("SyntaxError"),)),
    Case(
        "30",
        "a hundred and one levels of indent",
        "".join(f"{' ' * depth}if 1:\n" for depth in range(101)) + " " * 101 + "pass",
        (_refused("IndentationError", "SyntaxError"),),
    ),
    Case(
        "30",
        "thirty loops in each other",
        "".join(f"{' ' * depth}for i{depth} in ():\n" for depth in range(30)) + " " * 30 + "pass",
        (_refused("SyntaxError"),),
    ),
    Case("31", "a quarter of a million lines", "x=1\n" * 260_000 + "print(x)", (_prints("1\n"), _TIMEOUT)),
    Case("31", "a line of a megabyte", f"x = '{'y' * 1_000_000}'\nprint(len(x))", (_prints("1000000\n"),)),
    Case("31", "a list of a hundred thousand", f"print(len([{'1,' * 100_000}]))", (_prints("100000\n"), _TIMEOUT)),
    Case("31", "a program that is too long", "#" * (1024 * 1024 + 1), (_refused("ProgramTooLong"),)),
)

_ODD = (
    Case(
        "30", "tabs and spaces", "if True:\n        print(1)\n\tprint(2)", (_refused("TabError", "IndentationError"),)
    ),
    Case("30", "a null character", "print(1)\0", (_refused("SyntaxError", "ValueError"),)),
    Case("30", "a lone surrogate", "x = '\ud800'", (_refused("UnicodeEncodeError", "SyntaxError"),)),
    Case("30", "a lone surrogate in a comment", "# \udfff\nprint(1)", (_refused("UnicodeEncodeError"), _prints("1\n"))),
    Case("30", "a character that is no part of the language", "print(1) \u2060 ∑", (_refused("SyntaxError"),)),
    Case("31", "an empty program", "", (_prints(""),)),
    Case("31", "white space only", "\n\n  \n\t\n", (_prints(""),)),
    Case("31", "a comment without a line break", "# nothing", (_prints(""),)),
    Case("31", "no line break at the end", "if True:\n    print(1)", (_prints("1\n"),)),
    Case("30", "a line that goes on beyond the end", "x = 1 + \\", (_refused("SyntaxError"),)),
    Case("+", "a byte order mark", "\ufeffprint(1)", (_prints("1\n"), Outcome(Status.SYNTAX_ERROR))),
    Case("+", "form feeds", "\fprint(1)\n\f\nprint(2)", (_prints("1\n2\n"),)),
    Case("+", "line breaks of an old machine", "print(1)\rprint(2)", (_prints("1\n2\n"),)),
    Case("+", "line breaks of another system", "if True:\r\n    print(1)\r\nprint(2)\r\n", (_prints("1\n2\n"),)),
    Case("+", "separators of lines in a string", "print(ascii('a\u2028b\x0bc'))", (_prints("'a\\u2028b\\x0bc'\n"),)),
)

_FORGE = """\
import json, os
report = {{"status": {status!r}, "exc_type": "E", "exc_message": "m", "traceback": ""}}
for fd in range(3, 64):
    try: os.write(fd, json.dumps(report).encode())
    except OSError: pass
os._exit({code})
"""

_CLAIMS = ("runtime_error", "syntax_error", "memory_limit")
"""What a program may say of a failure of its own; everything else is for the kernel and the supervisor to say."""

_FORGED = tuple(
    Case(
        "26",
        f"a forged report of {status}, then {code}",
        _FORGE.format(status=status, code=code),
        (Outcome(Status(status) if status in _CLAIMS else Status.EXIT, exit_code=code) if code else _OK,),
        modes=(Mode.ONE_SHOT,),  # a session takes it for what it is, damage to its report pipe
    )
    for status in (*map(str, Status), "nonsense")
    for code in (0, 4)
)

CASES: tuple[Case, ...] = (*_LONG, *_ODD, *_FORGED)
