"""Demonstrations as plain JSON values, and back."""

from dataclasses import asdict
from typing import Any

import numpy as np

from thor_ray.demonstrations.demonstration import Block, CheckedClaim, Demonstration, RefinedStep, Source
from thor_ray.record_schema import trajectory_from_row, trajectory_to_row
from thor_ray.trajectory import NO_VERSION, ExecutionStatus
from thor_ray.usage import Usage


def demonstration_to_json(demonstration: Demonstration) -> dict[str, Any]:
    """Everything that ``demonstration_from_json`` needs to make the same demonstration.

    Raises:
        ValueError: a token was sampled. Demonstrations are written, so log-probs and versions are left out.
    """
    trajectory = demonstration.trajectory
    if (trajectory.versions != NO_VERSION).any():
        raise ValueError(f"trajectory {trajectory.id} was sampled; a demonstration is written")
    row = trajectory_to_row(trajectory)
    del row["log_probs"], row["versions"]
    return {
        "trajectory": {**row, "ids": list(trajectory.ids)},
        "source": str(demonstration.source),
        "prose": demonstration.prose,
        "claims": [asdict(claim) for claim in demonstration.claims],
        "steps": [asdict(step) for step in demonstration.steps],
        "response": demonstration.response,
    }


def demonstration_from_json(tree: dict[str, Any]) -> Demonstration:
    """The demonstration that ``demonstration_to_json`` took apart.

    Raises:
        KeyError: something is missing.
        ValueError: something is there that nothing of ours writes.
    """
    row = tree["trajectory"]
    ids = np.asarray(row["ids"], dtype=np.int32)
    tokens = {
        "ids": ids,
        "log_probs": np.zeros(len(ids), np.float32),
        "versions": np.full(len(ids), NO_VERSION, np.int32),
    }
    return Demonstration(
        trajectory=trajectory_from_row(row, tokens),
        source=Source(tree["source"]),
        prose=tree["prose"],
        claims=tuple(CheckedClaim(**claim) for claim in tree["claims"]),
        steps=tuple(_step(step) for step in tree["steps"]),
        response=tree["response"],
    )


def _step(tree: dict[str, Any]) -> RefinedStep:
    blocks = tuple(Block(each["code"], ExecutionStatus(each["status"]), each["output"]) for each in tree["blocks"])
    claim = None if tree["claim"] is None else CheckedClaim(**tree["claim"])
    return RefinedStep(**{**tree, "blocks": blocks, "claim": claim, "usage": Usage(**tree["usage"])})
