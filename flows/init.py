"""A commented spec for a registered model: `template` makes the text, `write` puts it in place."""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.flows.errors import Unwritten
from lockgate.flows.specfile.scalars import STR, tag_of

if TYPE_CHECKING:
    from lockgate.registry.describe import Description, Listing

_LONGEST_NAME = 50

_TEMPLATE = """\
# How {model} gets to production: one version beside the other, step by step, behind gates.
# Written by `lockgate init`. Lines behind '#' show what is so anyway; take the '#' away to change it.
# `lockgate validate` names every mistake, `lockgate plan` shows what a run would do, `lockgate run` does it.
name: {name}

model:
  name: {quoted}
  stable: "@champion"       # serves today: {champion}
  candidate: "@challenger"  # wants to serve: {challenger}
{trust}
# {about}
service:
  compile:
    targets: [onnxruntime, eager]   # each is compiled, proven and measured; the fastest with parity is served
    # precision: [fp32]             # add bf16, fp16 or int8: judged by parity.margin and min_agreement
    # objective: {{minimize: latency_p50, batch_size: 1}}   # add max_memory: 2GiB or max_load_time: 30s
    # parity: {{rtol: 1e-3, atol: 1e-5, min_agreement: 99.9%, margin: 5%, rows: 256}}
  replicas: {{min: 1}}                # of each side
  # resources: {{threads: auto}}      # of an engine's call; add memory: 2GiB: a replica that takes more is ended
  # batching: {{max_batch_size: 64}}  # add max_latency: 5ms to wait for more rows
  # timeout: 10s
  # ready_within: 2m

rollout:
  traffic:
    listen: 127.0.0.1:8080          # clients send here
    # metrics: 127.0.0.1:9901       # the router's Prometheus metrics
    sticky: {{header: x-user-id}}     # the same user always gets the same side
    # force: {{header: x-lockgate-variant}}
    # failover: {{deadline: 2s, methods: all}}   # then stable answers instead, and the candidate is blamed
    # anybody who reaches this address is answered; for HTTPS, keys of clients and limits see docs/listener.md
  steps:                            # in this order; after the last one the candidate is promoted
    - shadow: {{percent: 100, hold: {{min_requests: 500}}}}   # its answers are thrown away
    - canary: {{weight: 5, hold: {{min_requests: 1000}}}}
    - canary: {{weight: 25, hold: {{min_requests: 1000}}, timeout: 2h, on_timeout: hold}}
    # - approval: {{expires: 24h}}      # here a person must approve, in MLflow; add role: NAME
    - canary: {{weight: 50, hold: {{min_requests: 1000}}}}
  gates:                            # judged all the time; one that fails rolls back
    errors: {{metric: error_rate, margin: 0.5%}}
    latency: {{metric: latency, quantile: 0.99, margin: 20%}}
    # more of them: disagreement of the shadow's answers, prediction_drift, PromQL queries; see docs/verdicts.md
  profile: default                  # fast, default or strict: how sure a verdict must be

monitoring:
  capture: {{sample: 100%, keep: 7d}} # what replicas keep of the traffic; 0% keeps nothing
  # reference: {{artifact: reference.parquet}}   # training rows: live inputs are compared with them
  # drift: {{every: 15m, window: 5000, threshold: 0.1, share: 30%, on_drift: hold}}   # hold, alert or rollback
    # how well it answers, by labels that come later, is asked for in docs/drift.md

platform: {{kind: local}}
"""


def describe_newest(registry: Listing, name: str) -> Description:
    """What is known about the challenger, or about the newest version where there is none.

    Raises `NoSuchVersion`, `RegistryDown`, `Unusable`.
    """
    from lockgate.registry.describe import describe

    versions = registry.versions(name)
    named = {alias for aliases in versions.values() for alias in aliases}
    newest = next(iter(versions), "1")
    return describe(registry, name, "@challenger" if "challenger" in named else newest)


def template(description: Description) -> str:
    """The spec as text. It validates, and trusts nothing: that word is the user's to write."""
    model = description.version.name
    return _TEMPLATE.format(
        model=_line(model),
        name=_quoted(_spec_name(model)),
        quoted=_quoted(model),
        champion=_holder(description, "champion"),
        challenger=_holder(description, "challenger"),
        trust=_trust(description),
        about=_about(description),
    )


def write(path: Path, text: str, *, force: bool) -> None:
    """Put a whole file in place or none; without `force` never in the place of another. Raises `Unwritten`."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if force:
            beside.replace(path)
        else:
            path.hardlink_to(beside)  # unlike a rename, it fails when the name is taken
    except FileExistsError:
        raise Unwritten(f"{path} is there already; add --force to replace it, or --output for another file") from None
    except OSError as error:
        raise Unwritten(f"{path} cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def _spec_name(model: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return (words if words[:1].isalpha() else f"model-{words}")[:_LONGEST_NAME].strip("-")


def _quoted(text: str) -> str:
    """A model's name as YAML reads it back."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) and tag_of(text) == STR:
        return text
    return json.dumps(text, ensure_ascii=False).replace("${", "$${")


def _holder(description: Description, alias: str) -> str:
    for version, aliases in description.versions.items():
        if alias in aliases:
            return f"version {version}"
    return f"none yet; set the alias `{alias}` on a version in MLflow"


def _trust(description: Description) -> str:
    needs, version = description.needs, description.version.version
    if needs.pickle:
        return (
            f"  # Version {version} is stored as {description.storage}: loading it runs what its author put there.\n"
            "  # Take the '#' away if you trust them, or log the model in a format that holds no code.\n"
            "  # trust: {pickle: true}\n"
        )
    if needs.types:
        types = ", ".join(json.dumps(_line(each)) for each in needs.types)
        return (
            f"  # Version {version} holds types that scikit-learn does not vouch for. Take the '#' away if you do.\n"
            f"  # trust: {{types: [{types}]}}\n"
        )
    return ""


def _about(description: Description) -> str:
    inputs = ", ".join(f"{_line(i.name)} ({i.dtype})" for i in description.inputs[:8])
    more = f" and {len(description.inputs) - 8} more" if len(description.inputs) > 8 else ""
    return f"Version {description.version.version} is a {description.flavour} model; it takes {inputs}{more}."


def _line(text: str) -> str:
    """Text from the registry that stays in its comment."""
    return "".join(character if character.isprintable() else " " for character in text)
