"""The tiny policy: a small language model with its own tokenizer, pretrained from nothing on a laptop.

``thor_ray.tiny.pretrain`` makes a base checkpoint; one is shipped with the package.
"""

from pathlib import Path

_BASE = Path(__file__).parent / "base"
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def base_model_path() -> Path:
    """Directory of the shipped base checkpoint, in Hugging Face format.

    Raises:
        FileNotFoundError: The checkpoint is not in the package, or not whole.
    """
    missing = [name for name in _NEEDED if not (_BASE / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"the tiny base model is not whole: {_BASE} lacks {', '.join(missing)}; "
            f"reinstall the package, or make it again with `thor tiny pretrain {_BASE}`"
        )
    return _BASE


__all__ = ["base_model_path"]
