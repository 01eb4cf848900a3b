"""``thor plan``: how fast a recipe would be on so many GPUs, and how to split them."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from thor_ray.errors import UserError

if TYPE_CHECKING:
    from thor_ray.config import Recipe
    from thor_ray.planning import Gpu, Lengths, MeasuredRun, ModelShape, Prediction, Rates

HEADER: Final = (
    f"{'engines × TP':>12} {'ranks':>5} {'unused':>6} {'tokens/s':>9} {'s/round':>8} {'idle engines':>12} "
    f"{'idle learner':>12} {'staleness mean, worst':>21} {'thrown away':>11}"
)

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override one field of the recipe; may be repeated."),
]
Rate = Annotated[float | None, typer.Option(min=1e-9, help="Instead of the roofline's, or of the run's.")]
Seconds = Annotated[float | None, typer.Option(min=0, help="Instead of what is assumed, or of the run's.")]


def plan(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name or a YAML file.")],
    gpus: Annotated[int, typer.Option(min=1, help="How many; with --measured on a machine without, processes.")],
    gpu: Annotated[str | None, typer.Option(help="Which kind, as in h200; for the roofline and for memory.")] = None,
    lengths: Annotated[
        Path | None,
        typer.Option(
            help='Sampled tokens of trajectories, JSON: [512, ...], {"lengths": [...], "step_lengths": [...]}, or counts '
            "by length."
        ),
    ] = None,
    measured: Annotated[
        str | None, typer.Option(metavar="RUN", help="Rates and lengths of a run, on the same hardware.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Of the policy, instead of the recipe's policy.model.")] = None,
    engine_tokens_per_second: Rate = None,
    learner_tokens_per_second: Rate = None,
    publish_seconds: Seconds = None,
    tool_seconds: Seconds = None,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Predict tokens a second, idle shares and staleness of every split of GPUs into engines and learner ranks.

    The stream's real code runs in virtual time. An engine's rate is that of all its sequences together, a learner's
    that of one rank.
    """
    from thor_ray.config import load_recipe
    from thor_ray.planning import predictions, shape_of, splits
    from thor_ray.tiny import base_model_path

    resolved = load_recipe(recipe, overrides)
    named = str(model or resolved.policy.model)
    shape = shape_of(base_model_path() if named == "tiny" else Path(named))
    kind, run = _gpu_of(gpu), _run_of(measured)
    given = _lengths_of(resolved, lengths, run)
    rates = _rates_of(resolved, shape, kind, run, given, (engine_tokens_per_second, learner_tokens_per_second))
    if publish_seconds is not None:
        rates = replace(rates, publish_seconds=publish_seconds)
    if tool_seconds is not None:
        rates, given = replace(rates, tool_seconds=tool_seconds), given.unwaited()
    found = predictions(splits(resolved, gpus, kind, shape), gpus, rates, given, shape)
    if as_json:
        tree: dict[str, Any] = {"recipe": resolved.name, "gpus": gpus, "gpu": gpu, "lengths": given.source}
        tree |= {"mean_length": given.mean, "max_staleness": resolved.rl.stream.max_staleness, "rates": asdict(rates)}
        tree |= {"best": asdict(found[0]), "splits": [asdict(each) for each in found]}
        typer.echo(json.dumps(tree, indent=2))
        return
    typer.echo("\n".join(_table(resolved, found, given, rates)))


def _gpu_of(name: str | None) -> "Gpu | None":
    from thor_ray.planning import GPUS

    if name is None:
        return None
    if name.lower() not in GPUS:
        raise UserError(f"no GPU {name!r} is known", f"choose one of {', '.join(GPUS)}, or give --measured RUN")
    return GPUS[name.lower()]


def _run_of(name: str | None) -> "MeasuredRun | None":
    from thor_ray.planning import measured_run
    from thor_ray.run_directory import RunDirectory

    return None if name is None else measured_run(RunDirectory.find(name))


def _lengths_of(recipe: "Recipe", path: Path | None, run: "MeasuredRun | None") -> "Lengths":
    """Raises UserError for trajectories that the recipe does not allow."""
    from thor_ray.planning import Lengths, read_lengths

    if path is None:
        return run.lengths() if run is not None else Lengths.assumed(recipe)
    given = read_lengths(path)
    longest = max(each.tokens for each in given.episodes)
    if longest > recipe.policy.max_context:
        raise UserError(
            f"{path} has a trajectory of {longest} tokens, policy.max_context is {recipe.policy.max_context}",
            "leave longer ones out, or raise it: --set policy.max_context=...",
        )
    return given


def _rates_of(
    recipe: "Recipe",
    shape: "ModelShape | None",
    gpu: "Gpu | None",
    run: "MeasuredRun | None",
    lengths: "Lengths",
    told: tuple[float | None, float | None],
) -> "Rates":
    """A run's rates or the roofline's, but for what is told: tokens a second of an engine, and of a rank."""
    from thor_ray.planning import roofline

    if run is not None:
        rates = run.rates()
    elif gpu is None:
        raise UserError("nothing says how fast the hardware is", "give --gpu, such as h200, or --measured RUN")
    elif shape is None:
        raise UserError(
            f"{recipe.policy.model} has no config.json of a dense decoder, so its rates cannot be computed",
            "give --model DIR or --measured RUN",
        )
    else:
        rates = roofline(shape, recipe, gpu, lengths)
    engine, learner = told
    if engine is not None:
        rates = replace(rates, weight_seconds=0.0, sequence_seconds=0.0, compute_seconds=1 / engine)
    if learner is not None:
        rates = replace(rates, learner_seconds=1 / learner)
    if engine is not None or learner is not None:
        rates = replace(rates, source=f"{rates.source}; tokens a second as given")
    return rates


def _table(recipe: "Recipe", found: "list[Prediction]", lengths: "Lengths", rates: "Rates") -> list[str]:
    lines = [
        f"lengths: {lengths.source}, mean {lengths.mean:.0f} tokens",
        f"rates: {rates.source}",
        "",
        HEADER,
    ]
    lines += [
        f"{f'{each.engines} × {each.tensor_parallel}':>12} {each.ranks:>5} {each.unused:>6} {each.tokens_per_second:>9,.0f} "
        f"{each.round_seconds:>8.1f} {each.idle_engines:>12.0%} {each.idle_learner:>12.0%} "
        f"{f'{each.staleness_mean:.1f}, {each.staleness_worst}':>21} {each.thrown_away:>11.0%}"
        for each in found
    ]
    best = found[0]
    hours = best.round_seconds * recipe.rl.rounds / 3600
    settings = f"--set engine.actors={best.engines} --set learner.ranks={best.ranks}"
    return [*lines, "", f"best: {settings}; {recipe.rl.rounds} rounds in {hours:.1f} h"]
