"""From what a response holds to the program that is tested."""

from thor_ray.code_benchmarks.extraction import defines, extract_program, fenced_blocks, parsed
from thor_ray.code_benchmarks.problem import CodeProblem, FunctionCall


def program_of(problem: CodeProblem, response: str) -> str | None:
    """The program that a response gives to a problem; ``None`` if it holds none.

    Code that defines the function is the whole program, as in EvalPlus: it has to bring its own imports. Other code
    continues the task's own text, if that has an opening. A response without fences counts only if it is Python.

    Args:
        problem: What was asked.
        response: All that the policy wrote.
    """
    name = problem.interface.name if isinstance(problem.interface, FunctionCall) else None
    code = extract_program(response, name)
    if code is None:
        return None
    program = completed(problem, code)
    return program if fenced_blocks(response) or parsed(program) is not None else None


def completed(problem: CodeProblem, code: str) -> str:
    """The program that code gives: itself if it defines the function, else the task's opening continued."""
    interface = problem.interface
    if not problem.opening or not isinstance(interface, FunctionCall) or defines(code, interface.name):
        return code
    return problem.opening + code
