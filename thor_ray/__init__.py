"""THOR-Ray: tool-integrated hierarchical RL for mathematics on Ray, vLLM and DeepSpeed."""

__version__ = "0.1.0"
