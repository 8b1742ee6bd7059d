"""The dashboard of one pipeline's rollout."""

from __future__ import annotations

from lockgate.dashboards.grafana.annotations import marks
from lockgate.dashboards.grafana.dashboard import Page
from lockgate.dashboards.grafana.rollout_gates import gates
from lockgate.dashboards.grafana.rollout_head import head
from lockgate.dashboards.grafana.rollout_traffic import traffic
from lockgate.dashboards.grafana.variables import MLFLOW, PREFECT, address, away, hidden, label, labels

_INFO = 'lockgate_rollout_info{name="$name"}'
_FACTS = {"model": "model", "candidate_version": "candidate_version", "rollout": "rollout"}


def page() -> Page:
    return Page(
        uid="lockgate-rollout",
        title="Lockgate: rollout",
        description="One pipeline's rollout: where it is, what stable and the candidate do, and what the gates say.",
        lines=(*head(), *traffic(), *gates()),
        variables=(
            label("name", "Pipeline", "lockgate_rollout_info"),
            labels("gate", "Gates", 'lockgate_gate_outcome{name="$name"}'),
            *(hidden(name, _INFO, wanted) for name, wanted in _FACTS.items()),
            address("mlflow", "MLflow", MLFLOW),
            address("prefect", "Prefect", PREFECT),
        ),
        marks=marks(),
        links=(
            away(
                "Candidate in MLflow",
                "${mlflow}/#/models/${model}/versions/${candidate_version}",
                "The candidate's page: its evidence, and where one approves or rejects",
            ),
            away(
                "Runs in Prefect",
                "${prefect}/runs?tab=flow-runs&flow-run-search=drive%20${rollout}",
                "The flow runs that drive this rollout",
            ),
        ),
    )
