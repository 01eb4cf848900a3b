"""Worked solutions of generated problems, line by line."""

from thor_ray.problems import Problem


def claim_lines(problem: Problem) -> list[str]:
    """Lines between restatement and answer that claim a result; others only lead up to one."""
    assert problem.solution is not None
    return [line for line in problem.solution.split("\n")[1:-1] if " = " in line]
