"""What all sections of a recipe have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: typed, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
