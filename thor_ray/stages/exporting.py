"""The newest weights of a run as a model directory to use elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from actors.codec import TokenizerCodec
from learners.exporting import copy_model, export_checkpoint
from thor_ray.errors import UserError
from thor_ray.files import MEBIBYTE, require_free_space
from thor_ray.prompt_record import record_prompt
from thor_ray.run_directory import RunDirectory
from thor_ray.stages.plan import LEARNING, policy_directory
from thor_ray.stages.resumption import StageCheckpoints, latest_model


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported.

    Attributes:
        path: The model directory.
        version: Of its weights.
        origin: Where they come from, for people.
    """

    path: Path
    version: int
    origin: str


def export_run(run: RunDirectory, output: Path | None = None, *, overwrite: bool = False) -> Exported:
    """Writes the newest weights of a run, be they of a finished stage or of a checkpoint in the middle of one.

    Args:
        run: Finished, stopped or under way.
        output: New directory; ``None`` is ``export`` in the run directory.
        overwrite: Replace what lies there.

    Raises:
        UserError: nothing has been learnt yet, or something lies at ``output``.
        CheckpointError: the newest checkpoints are damaged.
    """
    output = output or run.path / "export"
    _refuse_to_destroy(output, overwrite)
    state, recipe = run.state(), run.recipe()
    finished = latest_model(run)
    begun = next((stage for stage in LEARNING if stage in state.stages and not state.stages[stage].finished), None)
    newest = StageCheckpoints(run, begun, recipe.learner).newest() if begun else None
    if newest is None and finished is None:
        raise UserError(
            f"{run.path} has learnt nothing yet that could be exported",
            "wait for its first checkpoint, which learner.checkpoint_every decides, or for the end of a stage",
        )
    source = finished[0] if finished else policy_directory(recipe)
    weights = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    require_free_space(output, weights // MEBIBYTE + 1)
    if newest is None:
        assert finished is not None
        copy_model(source, output)
        return Exported(output, finished[1], f"the finished stage {source.name}")
    export_checkpoint(newest.path, source, output)
    template = recipe.policy.template
    record_prompt(output, template, TokenizerCodec.from_directory(str(source)).prompt_frame(template))
    return Exported(output, newest.state.version, f"checkpoint {newest.path.name} of the stage {begun}")


def _refuse_to_destroy(output: Path, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        raise UserError(f"{output} is there already", "choose another --output, or replace it by --overwrite")
    if not (output / "config.json").is_file():
        raise UserError(f"{output} holds something that is no model", "choose another --output")
