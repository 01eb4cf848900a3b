"""Reads the tables of cases, `*.cases`: programs as they are, each below its name and what may become of it.

    ### 42 text that is no string
    #: runtime_error E
    class E(Exception):
        def __str__(self): return 5
    raise E

`###` is followed by the case's number in the specification ("+" if it has none) and its name; `#:` by one of

    ok '1\\n' | timeout     outcomes: a status, and what else is certain (stdout after `ok`, classes after `runtime_error` and
                           `syntax_error`, the code after `exit`, the signal after `crash`)
    in a session exit 1    more outcomes, for the program as a step of a session
    any end                every outcome but a failure of the sandbox itself
    hangs                  `timeout` within a short time
    denied                 the statements raise OSError or ValueError; and get through where there is no sandbox, which a test
                           sees (`denied, unproven` where it must not, or cannot, see that)
    within 2 s             another timeout
    2 times                run so often
    needs numpy, sympy     third-party modules
    one-shot               the only mode

Denied statements may use `raw` (a system call by number, with integers and byte strings), `canary` (a file of this user outside
the scratch directory), `outside` (its directory), `supervisor` (the process id of the sandbox's user) and `port` (where somebody
listens on 127.0.0.1); all programs `«canary»` and the other names of `Arena.targets`.
"""

from __future__ import annotations

import ast
import re
import signal
import textwrap
from collections.abc import Iterator
from dataclasses import replace

from sandbox import Status
from tests.integration.sandbox.attacks.case import ANY_END, HANG_SECONDS, QUICK_SECONDS, Case, Mode, Outcome, Proof

_FOR_X86_64 = re.compile(r"\braw\(|\.syscall\(|PROT_EXEC")
"""System calls by number, and machine code."""
_ATTEMPT = """\
import ctypes, fcntl, os, signal, socket, sys
canary, outside, supervisor, port = «canary», «outside», «supervisor», «tcp»
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

def raw(number, *arguments):
    words = [ctypes.c_char_p(each) if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
    result = _libc.syscall(ctypes.c_long(number), *words)
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result

process = os.getpid()
try:
{attempt}
except (OSError, ValueError):
    print("denied")
else:
    if os.getpid() == process:
        print("got through")
"""


def read_cases(text: str) -> Iterator[Case]:
    """Reads a table.

    Raises:
        ValueError: a case's head cannot be understood.
    """
    for block in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title, *lines = block.rstrip("\n").split("\n")
        directives = [line.removeprefix("#: ") for line in lines if line.startswith("#: ")]
        program = "\n".join(line for line in lines if not line.startswith("#: ")) + "\n"
        number, _, name = title.partition(" ")
        found = Case(number, name, program, (), machine="x86_64" if _FOR_X86_64.search(program) else None)
        for directive in directives:
            found = _apply(directive, found)
        if not (name and program.strip() and found.accepts):
            raise ValueError(f"the case {title!r} has no name, no program or no outcome")
        yield found


def _apply(directive: str, to: Case) -> Case:
    word, _, rest = directive.partition(" ")
    match word:
        case "hangs":
            timeout = HANG_SECONDS if to.timeout == QUICK_SECONDS else to.timeout
            return replace(to, accepts=(Outcome(Status.TIMEOUT),), timeout=timeout)
        case "denied" | "denied,":
            program = _ATTEMPT.replace("{attempt}", textwrap.indent(to.program.rstrip("\n"), "    "))
            proof = Proof(rest) if rest else Proof.SHOWN
            return replace(to, program=program, accepts=(Outcome(Status.OK, stdout="denied\n"),), proof=proof)
        case "any":
            return replace(to, accepts=ANY_END)
        case "within":
            return replace(to, timeout=float(rest.removesuffix(" s")))
        case "needs":
            return replace(to, needs=tuple(rest.split(", ")))
        case "in":
            more = rest.removeprefix("a session ").split(" | ")
            return replace(to, in_session=tuple(map(_outcome, more)))
        case "one-shot":
            return replace(to, modes=(Mode.ONE_SHOT,))
        case _ if rest == "times":
            return replace(to, repeats=int(word))
    return replace(to, accepts=(*to.accepts, *map(_outcome, directive.split(" | "))))


def _outcome(text: str) -> Outcome:
    word, _, detail = text.partition(" ")
    status = Status(word)
    if not detail:
        return Outcome(status)
    match status:
        case Status.OK:
            return Outcome(status, stdout=ast.literal_eval(detail))
        case Status.RUNTIME_ERROR | Status.SYNTAX_ERROR:
            return Outcome(status, exc_types=tuple(detail.split(", ")))
        case Status.EXIT:
            return Outcome(status, exit_code=int(detail))
        case Status.CRASH:
            return Outcome(status, signal=signal.Signals[detail])
    raise ValueError(f"{detail!r} after {word!r} means nothing")
