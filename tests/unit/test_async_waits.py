"""No coroutine blocks its event loop on Ray, and none waits for another process without a deadline."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BLOCKING = {"ray.get", "ray.wait"}

HANGS = {"remote", "collective_rpc", "wait", "get", "join", "acquire"}
"""Methods that end when somebody else says so: calls of actors and workers, events, queues, locks."""

DEADLINES = {"timeout", "timeout_at", "wait_for", "_within", "_deadline"}

WATCHED = {
    ("actors/stream.py", "_sample"): "an engine that is silent for too long has to prove that it lives, or is killed",
    (
        "actors/sampler.py",
        "watch_solution",
    ): "the trajectory that fills the queue has deadlines of its own, and ends it",
    ("actors/engine.py", "_call_workers"): "every method of RolloutActor that comes here has a deadline",
    ("actors/engine.py", "_abort"): "ends with the request that it would interrupt",
}
"""Waits that somebody else ends, by file and function, with the reason."""


@dataclass(frozen=True)
class Fault:
    """A wait that may last for ever, or stops everybody else."""

    place: tuple[str, str]
    line: int
    what: str


def functions(tree: ast.AST) -> Iterator[ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef))


def own_nodes(function: ast.AsyncFunctionDef) -> Iterator[tuple[ast.AST, bool]]:
    """Nodes of a coroutine, those of functions inside it left out, and whether each stands under a deadline."""
    pending: list[tuple[ast.AST, bool]] = [(child, False) for child in function.body]
    while pending:
        node, limited = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node, limited
        if isinstance(node, ast.AsyncWith):
            limited |= any(name_of(item.context_expr) in DEADLINES for item in node.items)
        if isinstance(node, ast.Call):
            limited |= name_of(node) in DEADLINES
        pending.extend((child, limited) for child in ast.iter_child_nodes(node))


def name_of(expression: ast.AST) -> str:
    """What is called: the last part of its name."""
    if isinstance(expression, ast.Call):
        expression = expression.func
    return expression.attr if isinstance(expression, ast.Attribute) else getattr(expression, "id", "")


def blocking_calls(tree: ast.AST, file: str) -> Iterator[Fault]:
    for function in functions(tree):
        for node, _ in own_nodes(function):
            if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in BLOCKING:
                yield Fault((file, function.name), node.lineno, f"{called} blocks the event loop")


def endless_waits(tree: ast.AST, file: str) -> Iterator[Fault]:
    for function in functions(tree):
        promised = {
            name.id
            for node, _ in own_nodes(function)
            if isinstance(node, ast.Assign) and name_of(node.value) == "remote"
            for target in node.targets
            for name in ast.walk(target)
            if isinstance(name, ast.Name)
        }
        for node, limited in own_nodes(function):
            if isinstance(node, ast.Await) and not limited:
                hangs = isinstance(node.value, ast.Call) and name_of(node.value) in HANGS
                if hangs or getattr(node.value, "id", "") in promised:
                    yield Fault((file, function.name), node.lineno, f"no deadline: {ast.unparse(node)}")


def sources(*rooms: str) -> Iterator[tuple[ast.AST, str]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT))


def test_no_coroutine_blocks_on_ray():
    found = [fault for source in sources("actors", "learners", "thor_ray") for fault in blocking_calls(*source)]
    assert found == []


def test_every_wait_for_another_process_has_a_deadline():
    found = [fault for source in sources("actors", "thor_ray/stages") for fault in endless_waits(*source)]
    assert [fault for fault in found if fault.place not in WATCHED] == []
    assert {fault.place for fault in found} == set(WATCHED), "an exception that is none any more"


@pytest.mark.parametrize(
    "line",
    ["ray.get(actor.ready.remote())", "ray.wait([call], timeout=1)", "return [ray.get(call) for call in calls]"],
)
def test_a_blocking_call_is_found(line):
    (fault,) = blocking_calls(ast.parse(f"async def look():\n    {line}"), "file.py")
    assert fault.place == ("file.py", "look")


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ("await actor.ready.remote()", 1),
        ("call = actor.ready.remote()\n    await call", 1),
        ("first, second = actor.ready.remote()\n    await first\n    await second", 2),
        ("async with asyncio.timeout(1):\n        await actor.ready.remote()", 0),
        ("await asyncio.wait_for(actor.ready.remote(), 1)", 0),
        ("async with lock:\n        await news.wait()", 1),
        ("await own_coroutine()", 0),
    ],
)
def test_waits_without_a_deadline_are_found(body, faults):
    tree = ast.parse(f"async def look():\n    {body}")
    assert len(list(endless_waits(tree, "file.py"))) == faults
