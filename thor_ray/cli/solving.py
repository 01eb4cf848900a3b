"""``thor solve``: one question, answered with tools."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thor_ray.cli.rescoring import ApiKey, Endpoint, RewardDirectory, RewardProtocol, reward_model_of
from thor_ray.cli.runs import Overrides, Seed
from thor_ray.errors import UserError
from thor_ray.evaluation.reward_models.server import Protocol
from thor_ray.evaluation.selection import Method

if TYPE_CHECKING:
    from rich.console import Console

    from thor_ray.evaluation.reward_models import RewardModel
    from thor_ray.stages.solve import Solver
    from thor_ray.trajectory import Trajectory


def solve(
    question: Annotated[str, typer.Argument(help="A mathematics problem in plain text or LaTeX.")],
    model: Annotated[Path | None, typer.Option(help="Hugging Face directory, e.g. a run's checkpoints/rl.")] = None,
    count: Annotated[
        int, typer.Option("--n", min=1, help="Independent solutions to sample, one of which is chosen.")
    ] = 1,
    select: Annotated[
        Method | None, typer.Option(help="With --n: how one is chosen.", show_default=str(Method.SELF_REWARDED))
    ] = None,
    self_correct: Annotated[
        bool, typer.Option("--self-correct", help="Throw failed steps away and sample them again.")
    ] = False,
    reward_model: RewardDirectory = None,
    endpoint: Endpoint = None,
    endpoint_model: Annotated[str | None, typer.Option(help="With --endpoint: the reward model's name there.")] = None,
    protocol: RewardProtocol = Protocol.CLASSIFY,
    api_key: ApiKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print solutions and answer as JSON.")] = False,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a YAML file.")] = "smoke",
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Answer one question: think, run code, read its output, and show it all as it comes."""
    from rich.console import Console

    from thor_ray.config import load_recipe
    from thor_ray.solutions import solution_fields
    from thor_ray.stages.plan import policy_directory
    from thor_ray.stages.solve import solver

    method = select or Method.SELF_REWARDED
    _refuse_idle(count, select, method, [reward_model, endpoint, endpoint_model])
    judge = None
    if method.needs_score:
        judge = reward_model_of(reward_model, endpoint, endpoint_model, protocol, api_key=api_key)
    settings = list(overrides or [])
    settings += [] if model is None else [f"policy.model={json.dumps(str(model))}"]
    settings += [] if seed is None else [f"seed={seed}"]
    resolved = load_recipe(recipe, settings)
    directory = policy_directory(resolved)
    console = Console(highlight=False, stderr=as_json)
    status = console.status("starting the engine")
    status.start()
    with solver(question, resolved, directory, self_correct) as ready:
        status.stop()
        if count > 1:
            _choose(ready, count, method, judge, console, as_json)
        elif as_json:
            solutions = [solution_fields(each, ready.decode) for each in ready.sample(1)]
            typer.echo(json.dumps({"question": question, "solutions": solutions}, indent=2))
        else:
            _watch(ready, console)


def _refuse_idle(count: int, select: Method | None, method: Method, reward: list[Any]) -> None:
    """Refuses options that would do nothing (invariant 13).

    Raises:
        UserError: there is such an option.
    """
    if count == 1 and select is not None:
        raise UserError("--select would do nothing with a single solution", "sample more by --n 8")
    if any(reward) and (count == 1 or not method.needs_score):
        raise UserError(
            "a reward model would do nothing here", "choose by it: --n 8 --select self_rewarded_external or external"
        )


def _choose(
    ready: "Solver", count: int, method: Method, judge: "RewardModel | None", console: "Console", as_json: bool
) -> None:
    """Samples candidates, tells of each as it is there, chooses one and shows it whole, then all in a table."""
    from thor_ray.candidates import candidate_line, choice_fields, choose_solution, print_choice
    from thor_ray.evaluation.answers import graded_equal
    from thor_ray.evaluation.reward_models import Conversation
    from thor_ray.grading import GraderPool
    from thor_ray.solutions import print_solution

    def tell(index: int, solution: "Trajectory") -> None:
        console.print(candidate_line(index, solution), style="dim", markup=False, soft_wrap=True)

    solutions = ready.sample(count, tell)
    scores = None
    if judge is not None:
        question = ready.problem.question
        responses = [ready.decode(solution.ids[solution.prompt_length :]) for solution in solutions]
        scores = judge.scores([Conversation(question, response.strip()) for response in responses])
    with GraderPool() as grader:
        choice = choose_solution(solutions, method, graded_equal(grader.grade_answer), scores=scores)
    if as_json:
        typer.echo(json.dumps({"question": ready.problem.question, **choice_fields(choice, ready.decode)}, indent=2))
        return
    console.print()
    print_solution(choice.chosen, console, ready.decode)
    console.print()
    print_choice(choice, console)


def _watch(ready: "Solver", console: "Console") -> None:
    from actors.live import Executed, Sampled
    from thor_ray.solutions import SolutionPrinter

    printer = SolutionPrinter(console, ready.decode)
    for event in ready.watch():
        match event:
            case Sampled():
                printer.tokens(event)
            case Executed(result=result, discarded_tokens=discarded):
                printer.executed(result, corrected=discarded > 0)
            case _:
                printer.done(event.trajectory)
