"""What all parts of the `rollout:` section have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A check across fields starts its sentence with the field that is to blame: `field.below: sentence`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
