"""Programs that try to pass without being right: by looking for the answers, by forging what is compared, by breaking
the judge. None of them passes, and each gets a verdict.
"""

import asyncio
import json
import time
import zlib
from dataclasses import replace

import pytest

from sandbox import Sandbox
from tests.support.code_problems import livecodebench_row
from thor_ray.code_benchmarks import AnswerKey, CodeJudge, CodeStatus, CodeVerdict, check_program, make_answer_key
from thor_ray.code_benchmarks.livecodebench import parse_problem as parse_livecodebench
from thor_ray.code_benchmarks.problem import CodeProblem, FunctionCall, Rule, Suite

SECRET = "7f1c0e5a94b2d836"
"""Of the right outputs; a program that passes must have found it somewhere."""

PROBLEM = CodeProblem(
    id="secret",
    question="?",
    source="test",
    interface=FunctionCall("solve"),
    suites=(Suite("base", ("[1]", "[2]")), Suite("plus", ("[3]",))),
    reference=f"def solve(x):\n    return ['{SECRET[:8]}' + '{SECRET[8:]}', x]",
)
ANSWERS = [json.dumps({"value": [SECRET, number]}) for number in (1, 2)]


@pytest.fixture(scope="module")
def key(code_sandbox: Sandbox) -> AnswerKey:
    made = asyncio.run(make_answer_key(PROBLEM, code_sandbox))
    assert SECRET in made.suites[0].batches[0].expected[0]
    return made


async def attacked(program: str, key: AnswerKey, sandbox: Sandbox) -> CodeVerdict:
    began = time.monotonic()
    verdict = await check_program(key, program, sandbox)
    assert time.monotonic() - began < 90
    assert verdict.status is not CodeStatus.SANDBOX_ERROR, verdict
    return verdict


async def test_the_arena_is_no_wall(code_sandbox, key) -> None:
    verdict = await attacked(f"def solve(x): return ['{SECRET}', x]", key, code_sandbox)
    assert verdict.passed


OBJECTS = {
    "equals everything": "class E:\n    def __eq__(self, other): return True\ndef solve(x): return E()",
    "holds what equals everything": "class E:\n    def __eq__(self, o): return True\ndef solve(x): return [E(), x]",
    "text that equals everything": "class E(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\n"
    "def solve(x): return [E('a'), x]",
    "a list that equals everything": "class E(list):\n    def __eq__(self, o): return True\n"
    "    def __len__(self): return 2\ndef solve(x): return E()",
    "claims another class": "class E:\n    __class__ = list\n    def __eq__(self, o): return True\n"
    "    def __iter__(self): return iter([E(), 1])\ndef solve(x): return E()",
    "a metaclass that equals everything": "class M(type):\n    def __eq__(self, o): return True\n    __hash__ = None\n"
    "class E(metaclass=M): pass\ndef solve(x): return E",
    "an array that stretches": "import numpy\ndef solve(x): return numpy.array([True])",
    "not a number": "def solve(x): return float('nan')",
}

ENDINGS = {
    "exits as it is loaded": "import sys\nsys.exit(0)",
    "exits for good": "import os\nos._exit(0)",
    "exits in the call": "import sys\ndef solve(x): sys.exit(0)",
    "exits for good in the call": "import os\ndef solve(x): os._exit(0)",
    "raises an interrupt": "def solve(x): raise KeyboardInterrupt",
    "raises what no except catches": "def solve(x): raise BaseException('passed')",
    "raises what cannot be printed": "class E(Exception):\n    def __str__(self): raise self\ndef solve(x): raise E",
    "ends at an assertion of its own": "def solve(x): assert False, {'status': 'passed'}",
    "replaces itself": "import os\ndef solve(x): os.execv('/bin/true', ['true'])",
    "stops itself": "import os, signal\ndef solve(x): os.kill(os.getpid(), signal.SIGSTOP)",
    "kills itself": "import os, signal\ndef solve(x): os.kill(os.getpid(), signal.SIGKILL)",
}

SABOTAGE = {
    "comparisons of builtins": "import builtins\nfor name in ('len', 'isinstance', 'type', 'all', 'print'):\n"
    "    setattr(builtins, name, lambda *a, **k: True)\ndef solve(x): return x",
    "equality in operator": "import operator\noperator.eq = lambda a, b: True\ndef solve(x): return x",
    "the JSON encoder": "import json\njson.dumps = lambda *a, **k: '{\"value\": true}'\ndef solve(x): return x",
    "the rules": "import sys\nfor m in list(sys.modules):\n    if m.startswith('inside'):\n"
    "        vars(sys.modules[m]).update(matches=lambda *a: True, encode=lambda v: v, main=lambda: None)\n"
    "def solve(x): return x",
    "the harness's frames": "import sys\nf = sys._getframe()\nwhile f:\n    f.f_locals.update(function=None, count=9)\n"
    "    f = f.f_back\ndef solve(x): return x",
    "a verdict on every stream": "import os\nfor fd in range(1, 40):\n    try:\n"
    '        os.write(fd, b\'\\n{"count": 2, "failure": null}\\n\')\n    except OSError: pass\ndef solve(x): return x',
    "every descriptor closed": "import os\nos.closerange(0, 64)\ndef solve(x): return x",
    "the trace function": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\n"
    "def solve(x): return x",
}

SEARCHES = {
    "objects in memory": "import gc\ndef texts():\n    for o in gc.get_objects():\n        try: yield repr(o)\n"
    "        except BaseException: pass\n",
    "frames": "import sys\ndef texts():\n    f = sys._getframe()\n    while f:\n        yield repr(f.f_locals)\n"
    "        yield repr(f.f_globals)\n        f = f.f_back\n",
    "files": "import os\ndef texts():\n    for top in ('.', '..', '/tmp', '/dev/shm', '/proc/self/fd', '/work', '/root'):\n"
    "        for place, _, names in os.walk(top):\n            for name in names:\n                try:\n"
    "                    yield open(os.path.join(place, name), errors='replace').read(10**6)\n"
    "                except OSError: pass\n",
    "raw memory": "def texts():\n    for line in open('/proc/self/maps'):\n        a, b = [int(p, 16) for p in line.split()[0].split('-')]\n"
    "        try:\n            with open('/proc/self/mem', 'rb') as m:\n                m.seek(a)\n"
    "                yield m.read(min(b - a, 10**7)).decode('latin-1')\n        except (OSError, ValueError, OverflowError): pass\n",
    "the environment": "import os, sys\ndef texts():\n    yield repr(os.environ)\n    yield repr(sys.argv)\n    yield repr(sys.modules)\n",
}
FIND = """
import re
def solve(x):
    try:
        for text in texts():
            for found in re.findall('[0-9a-f]{16}', text):
                if found.startswith('7f1c'):
                    return [found, x]
    except OSError:
        pass
    return ['nothing', x]
"""

FORGED = {
    "no lines": b"",
    "too few": ANSWERS[0].encode() + b"\n",
    "the last one cut off": (ANSWERS[0] + "\n" + ANSWERS[1]).encode(),
    "lines of passing": b'{"passed": true}\n' * 2,
    "empty records": b"{}\n" * 3,
    "no records": b"null\n1\n[]\n",
    "a failure of no kind": b'{"failure": null, "value": 1}\n' * 2,
    "a failure that is none": b'{"failure": "passed"}\n' * 2,
    "a failure with a monstrous reason": b'{"failure": "error", "reason": "' + b"x" * 10**6 + b'"}\n',
    "a failure whose reason is no text": b'{"failure": "timeout", "reason": {"a": "\\ud800"}}\n',
    "digests": b'{"digest": null}\n' * 2,
    "digests beside values": b'{"digest": "0", "value": 1}\n' * 2,
    "nested deeply": b'{"value": ' + b"[" * 10**6 + b"]" * 10**6 + b"}\n",
    "an integer of many digits": b'{"value": ' + b"9" * 10**6 + b"}\n",
    "integers that share a hash": b'{"value": {"set": ['
    + b",".join(b'{"int": "%s"}' % hex(k * (2**61 - 1)).encode() for k in range(1, 15_000))
    + b"]}}\n",
    "what is no notation": b'{"value": {"object": "E", "set": []}}\n' * 2,
    "not UTF-8": b'\xff\xfe{"value": "\xff"}\n' * 2,
    "zeros": b"\0" * 10**6,
    "objects": b'{"value": {"object": "E"}}\n' * 2,
    "the right answers, one after the other": "\n".join(ANSWERS[::-1]).encode() + b"\n",
    "more than can be compared": b"\n" * (15 << 20),
}

NO_FILES = {
    "a link": "os.symlink('solution.py', 'outputs.jsonl')",
    "a link to the answers": "os.symlink('expected.jsonl', 'outputs.jsonl')",
    "a directory": "os.mkdir('outputs.jsonl')",
    "a pipe": "os.mkfifo('outputs.jsonl')",
    "a hole": "os.truncate(os.open('outputs.jsonl', os.O_CREAT | os.O_WRONLY), 15 << 20)",
    "nothing": "pass",
}


@pytest.mark.parametrize("program", OBJECTS.values(), ids=OBJECTS)
async def test_no_object_passes_for_an_answer(code_sandbox, key, program) -> None:
    verdict = await attacked(program, key, code_sandbox)
    assert verdict.status in (CodeStatus.WRONG_OUTPUT, CodeStatus.ERROR), verdict


@pytest.mark.parametrize("program", ENDINGS.values(), ids=ENDINGS)
async def test_no_way_to_end_passes(code_sandbox, key, program) -> None:
    verdict = await attacked(program, key, code_sandbox)
    assert not verdict.passed
    assert verdict.suites == {"base": False}
    assert verdict.failed_test == 0


@pytest.mark.parametrize("program", SABOTAGE.values(), ids=SABOTAGE)
async def test_sabotage_of_its_own_process_passes_nothing(code_sandbox, key, program) -> None:
    assert not (await attacked(program, key, code_sandbox)).passed


@pytest.mark.parametrize("program", SEARCHES.values(), ids=SEARCHES)
async def test_the_answers_are_nowhere_to_be_found(code_sandbox, key, program) -> None:
    verdict = await attacked(program + FIND, key, code_sandbox)
    assert not verdict.passed
    assert SECRET not in verdict.reason.partition("got")[2]


@pytest.mark.parametrize("payload", FORGED.values(), ids=FORGED)
async def test_forged_outputs_pass_nothing_and_break_nobody(code_sandbox, key, payload) -> None:
    """What is written down is the candidate's word; here it writes it itself, and ends."""
    program = f"import os, zlib\nwith open('outputs.jsonl', 'wb') as f: f.write(zlib.decompress({zlib.compress(payload)!r}))\nos._exit(0)"
    verdict = await attacked(program, key, code_sandbox)
    assert not verdict.passed
    assert len(verdict.reason) <= 400
    verdict.reason.encode()


@pytest.mark.parametrize("action", NO_FILES.values(), ids=NO_FILES)
async def test_outputs_that_are_no_file_pass_nothing(code_sandbox, key, action) -> None:
    program = f"import os\nos.rename('outputs.jsonl', 'x')\n{action}\nos._exit(0)"
    assert not (await attacked(program, key, code_sandbox)).passed


async def test_right_outputs_may_come_from_anywhere(code_sandbox, key) -> None:
    """Forging is no crime: who knows the right outputs has solved the problem."""
    text = "\n".join(ANSWERS) + "\n"
    program = f"import os\nwith open('outputs.jsonl', 'w') as f: f.write({text!r})\nos._exit(0)"
    verdict = await attacked(program, key, code_sandbox)
    assert verdict.suites == {"base": True, "plus": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        "def solve(x):\n    while True:\n        try:\n            while True: sum(range(10**6))\n        except BaseException: pass",
        "import time\ndef solve(x): time.sleep(1000)",
        "import signal\nfor s in (14, 27): signal.signal(s, signal.SIG_IGN)\ndef solve(x):\n    while True: pass",
        "def solve(x):\n    try:\n        while True: sum(range(10**6))\n    except BaseException:\n        return x",
        "def solve(x): return 3 ** 10 ** 10",
        "while True: pass",
        "class E(dict):\n    def items(self):\n        while True: yield 1, 1\ndef solve(x): return E()",
    ],
    ids=["catches all", "sleeps", "deaf", "answers too late", "in C", "as it is loaded", "while it is written down"],
)
async def test_hanging_passes_nothing(code_sandbox, key, program) -> None:
    """Loops have slow calls in them: what an alarm raises at a bare jump, no handler of the same function catches."""
    verdict = await attacked(program, key, code_sandbox)
    assert verdict.status in (CodeStatus.TIMEOUT, CodeStatus.MEMORY), verdict
    assert verdict.failed_test == 0


async def test_changed_arguments_do_not_change_what_is_right(code_sandbox) -> None:
    """The root of a polynomial is checked on the test's own coefficients, not on what the program made of them."""
    problem = CodeProblem(
        id="root",
        question="?",
        source="test",
        interface=FunctionCall("find_zero"),
        suites=(Suite("base", ("[[-6, 2]]",)),),
        rule=Rule.POLYNOMIAL_ROOT,
        tolerance=1e-4,
        reference="def find_zero(xs): return -xs[0] / xs[1]",
    )
    judge = CodeJudge(code_sandbox)
    assert (await judge.check(problem, "def find_zero(xs): return 3")).passed
    assert not (await judge.check(problem, "def find_zero(xs):\n    xs.clear()\n    return 0")).passed


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "import os\nos.symlink('order.json', 'x')\nos.rename('x', 'printed.txt')",
        "import os\nos.remove('printed.txt')\nprint(3)",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (60, 60))\nprint(3)",
        "import glob\nfor name in glob.glob('**/*.*', recursive=True): print(open(name).read())",
        "import builtins\nbuiltins.exit = builtins.print\nclass E:\n    def __str__(self): return '3'\nprint(4)",
    ],
)
async def test_scripts_pass_by_nothing_but_what_they_print(code_sandbox, program) -> None:
    problem = replace(parse_livecodebench(livecodebench_row("stdin"), "lcb"), seconds=2.0)
    verdict = await CodeJudge(code_sandbox).check(problem, program)
    assert not verdict.passed
    assert verdict.status is not CodeStatus.SANDBOX_ERROR
