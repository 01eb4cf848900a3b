"""Reward models of other people, for choosing among candidates: behind one interface, as a server or as a directory."""

from thor_ray.evaluation.reward_models.interface import Conversation, RewardModel, RewardModelError
from thor_ray.evaluation.reward_models.server import Protocol, RewardServer

__all__ = ["Conversation", "Protocol", "RewardModel", "RewardModelError", "RewardServer"]
