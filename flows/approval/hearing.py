"""What people decided, as the registry's page says now, and whether what they decided on still stands."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lockgate.flows.approval.asking import Placed, version_of
from lockgate.registry.approvals import KEY, PENDING, WRITING, Decision, Page, said
from lockgate.registry.words import Registry
from lockgate.rollout.state import Decided, Happening, State, Voided
from lockgate.rollout.store import Rollout

_LOG = logging.getLogger("lockgate.approval")


def hear(registry: Registry, rollout: Rollout, state: State, placed: Placed, now: float) -> Sequence[Happening]:
    """Decisions that are not in the log yet; or why they, and what was asked, no longer hold.

    Raises `RegistryError`; the next reading may succeed.
    """
    version = version_of(registry, rollout, state)
    page = registry.page(version)
    if _disturbed(page, placed):
        # Somebody removed it or mistyped, or a copy of another version's page came in its place: that is no answer.
        if page.approval not in {"", WRITING}:
            _LOG.warning("%s says %r, which is no answer; it is asked again", version, page.approval)
        registry.ask(version, placed.request, placed.evidence)
        return []
    if why := edited(page, placed):
        return [Voided(why)]
    if said(page.approval) and not page.decisions:
        _LOG.warning(
            "%s says %r, and nobody has signed that: with %s set, only what a server with lockgate-auth signs counts",
            *(version, page.approval, KEY),
        )
    new = [d for d in page.decisions if counts(d, page, placed) and (not d.approved or d.by not in state.approvals)]
    # A rejection first: it stands against whatever was approved in the same seconds.
    return [_decided(d, now) for d in sorted(new, key=lambda d: d.approved)]


def _disturbed(page: Page, placed: Placed) -> bool:
    return page.request != placed.request or not (page.approval == PENDING or said(page.approval))


def edited(page: Page, placed: Placed) -> str:
    """Why what stands on the page is not what was asked; empty when it is."""
    return "" if page.evidence == placed.sha else "the evidence on the version's page was changed after it was asked"


def counts(decision: Decision, page: Page, placed: Placed) -> bool:
    """Whether it answers what is asked, by somebody who may."""
    request = placed.request
    if decision.digest != request.digest:
        return False
    own = request.not_author and decision.verified and page.author and decision.by == page.author
    nobody = request.required > 1 and not decision.by
    return not (decision.approved and (own or nobody))


def changed(registry: Registry, rollout: Rollout, state: State) -> str:
    """Why what would be promoted is not what was looked at; empty when it is. Raises `RegistryError`."""
    version = version_of(registry, rollout, state)
    tried = state.facts.get(f"{state.winner}_source") or registry.fetch(version).digest
    if (now := registry.digest(version)) != tried:
        return (
            f"the files of {version} in the registry are not those that were tried (sha256 {tried[:12]} then,"
            f" {now[:12]} now): nobody has approved these. Log the model again as a new version"
        )
    return ""


def _decided(decision: Decision, now: float) -> Decided:
    return Decided(
        approved=decision.approved,
        by=decision.by,
        comment=decision.comment,
        digest=decision.digest,
        verified=decision.verified,
        via="mlflow",
        said_at=decision.at or now,
    )
