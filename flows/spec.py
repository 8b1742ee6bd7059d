"""The spec: one YAML file per model, one section per package. Read once; after that it is a value."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from lockgate.flows import uncaptured
from lockgate.flows.notify.spec import Notify
from lockgate.monitoring.spec import MonitoringSpec
from lockgate.monitoring.units import size_text
from lockgate.registry.spec import ModelSpec
from lockgate.rollout.gates import Disagreement, Mean, PredictionDrift, Query
from lockgate.rollout.spec import AbStep, RolloutSpec
from lockgate.services.spec import ServiceSpec

_NAME = r"^[a-z]([a-z0-9-]{0,48}[a-z0-9])?$"


class Platform(BaseModel):
    """Where replicas run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local"] = Field(default="local", description="`local`: processes on this machine.")


class Spec(BaseModel):
    """What one rollout pipeline is about: the model, how it is served, and how its traffic is moved."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(
        description="Names this pipeline in every command, metric and folder.", json_schema_extra={"pattern": _NAME}
    )
    model: ModelSpec = Field(description="The registered model and the two versions that meet.")
    service: ServiceSpec = Field(default=ServiceSpec(), description="How a model version becomes a served bento.")
    rollout: RolloutSpec = Field(description="Who gets the traffic, step by step, and what must hold at each.")
    monitoring: MonitoringSpec = Field(
        default=MonitoringSpec(), description="What is kept of the live traffic, and where metrics are asked for."
    )
    notify: tuple[Notify, ...] = Field(default=(), description="Who is told what, as it happens.")
    platform: Platform = Field(default=Platform(), description="Where replicas run.")

    _hidden: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _label(cls, value: str) -> str:
        if not re.fullmatch(_NAME, value):
            raise ValueError(
                f"{value!r} is not a name; write up to 50 lowercase letters, digits and '-', starting with a letter "
                "and not ending with '-'"
            )
        return value

    @field_validator("rollout")
    @classmethod
    def _nothing_passes_that_is_refused(cls, value: RolloutSpec, info: ValidationInfo) -> RolloutSpec:
        service, allowed = info.data.get("service"), value.traffic.max_body
        if service and not service.external and allowed > service.max_body:
            raise ValueError(
                f"traffic.max_body: the router would pass {size_text(allowed)} to a service that refuses more than "
                f"{size_text(service.max_body)}; raise service.max_body or lower this"
            )
        return value

    @model_validator(mode="after")
    def _known_others(self) -> Self:
        """Every challenger has a version, and takes part."""
        asked, known = self.rollout.others, self.model.others
        last, _ = self.rollout.judged_steps[-1]
        at = f"rollout.steps[{last}].ab.others"
        for name in asked:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                like = f'name its version there, like `{name}: "@{name}"`'
                question = f"; did you mean {near[0]!r}?" if near else f"; {like}"
                raise ValueError(f"{at}: {name!r} is not in model.others{question}")
        for name in known:
            if name not in asked:
                raise ValueError(f"model.others.{name}: is in no step; add it to `others` of the last `ab` step")
        return self

    @model_validator(mode="after")
    def _measured(self) -> Self:
        """What the gates look at is there to be looked at."""
        for name, gate in self.rollout.gates.items():
            if isinstance(gate, Query) and self.monitoring.prometheus is None:
                raise ValueError(
                    f"rollout.gates.{name}: nobody to ask; name the Prometheus in monitoring.prometheus, like"
                    " http://127.0.0.1:9090"
                )
            if isinstance(gate, Disagreement | PredictionDrift) and not self.monitoring.capture.sample:
                raise ValueError(
                    f"rollout.gates.{name}: answers are compared from the captured traffic, and"
                    " monitoring.capture.sample is 0; raise it"
                )
        return self

    @model_validator(mode="after")
    def _every_user_counts(self) -> Self:
        """What users did is asked for where it can be had, and counted for all who were answered."""
        counts = [f"steps[{i}].ab" for i, step in enumerate(self.rollout.steps) if isinstance(step, AbStep)]
        for name, gate in self.rollout.gates.items():
            if isinstance(gate, Mean) and not self.rollout.metric(gate.of).promql:
                counts.append(f"gates.{name}")
        for at in counts:
            if self.monitoring.capture.sample < 100:  # percent
                raise ValueError(
                    f"rollout.{at}: users are counted from the captured traffic, every one of them, and"
                    f" monitoring.capture.sample is {self.monitoring.capture.sample:g} %; set it to 100%"
                )
        for name, metric in self.rollout.metrics.items():
            if metric.promql and self.monitoring.prometheus is None:
                raise ValueError(
                    f"rollout.metrics.{name}.promql: nobody to ask; name the Prometheus in monitoring.prometheus, like"
                    " http://127.0.0.1:9090"
                )
        return self

    @model_validator(mode="after")
    def _captured(self) -> Self:
        if self.service.external:
            for why in (*uncaptured.judged(self.rollout), *uncaptured.monitored(self.monitoring)):
                raise ValueError(why)
        return self

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The spec that `document` was made from. Raises `ValueError` when an environment variable is gone."""
        from lockgate.flows.specfile.environment import fill_all

        filled, hidden = fill_all(document, os.environ)
        spec = cls.model_validate(filled)
        spec._hidden = hidden  # noqa: SLF001 - its own class
        return spec

    @property
    def document(self) -> dict[str, Any]:
        """The whole spec as JSON, defaults filled in. `Spec.of` reads it back.

        What came from the environment stands in it as `${NAME}`: this is what is stored.
        """
        from lockgate.flows.specfile.environment import refer_all

        return dict(refer_all(self.model_dump(mode="json"), self._hidden))

    def stored_as(self, document: Mapping[str, Any]) -> bool:
        """Whether `document` is of this spec, perhaps stored by a version that had fewer fields."""
        if document == self.document:
            return True
        try:
            return type(self).of(document).document == self.document
        except ValueError:  # a variable that it names is gone, or a field is
            return False

    @property
    def digest(self) -> str:
        """12 hexadecimal digits that change when anything in the spec does."""
        return _digest(self.document)

    @property
    def service_digest(self) -> str:
        """12 hexadecimal digits that change when the service is to be built differently."""
        built = self.service.model_dump(mode="json", exclude={"external", "replicas", "ready_within", "resources"})
        built["compile"].pop("limits")
        return _digest(built)

    def hide(self, text: str) -> str:
        """`text` with what came from the environment replaced by the variable's `${NAME}`."""
        from lockgate.flows.specfile.environment import hide

        return hide(text, self._hidden)


def _digest(document: object) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def load(path: Path | str) -> Spec:
    """Read a spec file. Raises `SpecError` with every problem in it."""
    from lockgate.flows.specfile.source import read

    return parse(read(path), str(path))


def parse(text: str, file: str = "lockgate.yaml", environment: Mapping[str, str] | None = None) -> Spec:
    """Read a spec from YAML text; `file` is what problems are said to be in. Raises `SpecError`."""
    from lockgate.flows.errors import SpecError
    from lockgate.flows.listener import placed
    from lockgate.flows.literals import literals
    from lockgate.flows.specfile.check import check

    secrets = literals(text, file, environment)
    try:
        spec, hidden = check(Spec, text, file, environment)
    except SpecError as error:
        raise SpecError(file, [*error.problems, *secrets]) from None
    if secrets:
        raise SpecError(file, secrets)
    spec = spec.model_copy(update={"rollout": placed(spec.rollout, file)})
    spec._hidden = hidden  # noqa: SLF001 - its own module
    return spec
