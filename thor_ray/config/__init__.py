"""A run's recipe: one YAML file, validated before anything starts (invariant 13).

Every field says what it means, its unit, and where its default comes from. Unknown keys are refused with the
nearest known one; options that would silently do nothing are refused too. ``thor config schema`` prints it all.
"""

from thor_ray.config.inference import CorrectionConfig, EvaluationConfig, RepairStrategy, SamplingConfig
from thor_ray.config.learning import ColdStartConfig, LearnerConfig, LoraConfig, OffloadConfig, OptimizerConfig
from thor_ray.config.loading import RecipeError, load_recipe, recipe_names, validate_recipe
from thor_ray.config.placement import PlacementConfig
from thor_ray.config.policy import EngineConfig, PolicyConfig, SandboxConfig
from thor_ray.config.problems import DecontaminationConfig, ProblemsConfig, ProblemSource
from thor_ray.config.publishing import PublishingConfig
from thor_ray.config.recipe import Recipe
from thor_ray.config.reinforcement import FilterConfig, ObjectiveConfig, OffPolicyConfig, RLConfig
from thor_ray.config.section import Section
from thor_ray.config.supervision import LivenessConfig, RestartConfig
from thor_ray.config.tirgen import TirgenConfig
from thor_ray.config.tracking import TrackingConfig

__all__ = [
    "ColdStartConfig",
    "CorrectionConfig",
    "DecontaminationConfig",
    "EngineConfig",
    "EvaluationConfig",
    "FilterConfig",
    "LearnerConfig",
    "LivenessConfig",
    "LoraConfig",
    "ObjectiveConfig",
    "OffPolicyConfig",
    "OffloadConfig",
    "OptimizerConfig",
    "PlacementConfig",
    "PolicyConfig",
    "ProblemSource",
    "ProblemsConfig",
    "PublishingConfig",
    "RLConfig",
    "Recipe",
    "RecipeError",
    "RepairStrategy",
    "RestartConfig",
    "SamplingConfig",
    "SandboxConfig",
    "Section",
    "TirgenConfig",
    "TrackingConfig",
    "load_recipe",
    "recipe_names",
    "validate_recipe",
]
