"""What follows from a recipe before anything is started: how much is sampled and learnt, and what it takes of a GPU."""

from thor_ray.planning.derived import derived_rows, memory_faults_of
from thor_ray.planning.gpus import GPUS, Gpu
from thor_ray.planning.lengths import Lengths, read_lengths
from thor_ray.planning.measured import MeasuredRun, measured_run
from thor_ray.planning.memory import EngineMemory, LearnerMemory, engine_memory, learner_memory
from thor_ray.planning.rates import Rates, roofline
from thor_ray.planning.shape import ModelShape, context_faults, shape_of
from thor_ray.planning.throughput import Prediction, predictions, splits

__all__ = [
    "GPUS",
    "EngineMemory",
    "Gpu",
    "LearnerMemory",
    "Lengths",
    "MeasuredRun",
    "ModelShape",
    "Prediction",
    "Rates",
    "context_faults",
    "derived_rows",
    "engine_memory",
    "learner_memory",
    "measured_run",
    "memory_faults_of",
    "predictions",
    "read_lengths",
    "roofline",
    "shape_of",
    "splits",
]
