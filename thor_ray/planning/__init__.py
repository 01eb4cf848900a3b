"""What follows from a recipe before anything is started: how much is sampled and learnt, and what it takes of a GPU."""

from thor_ray.planning.derived import derived_rows, memory_faults_of
from thor_ray.planning.memory import EngineMemory, LearnerMemory, engine_memory, learner_memory
from thor_ray.planning.shape import ModelShape, context_faults, shape_of

__all__ = [
    "EngineMemory",
    "LearnerMemory",
    "ModelShape",
    "context_faults",
    "derived_rows",
    "engine_memory",
    "learner_memory",
    "memory_faults_of",
    "shape_of",
]
