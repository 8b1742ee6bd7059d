"""Steps in a row: which one is in force in an approval, and which rows make no sense."""

from __future__ import annotations

from itertools import pairwise

from lockgate.rollout.steps import ApprovalStep, CanaryStep, ShadowStep, Step, challengers, kind_of, weight_of

Steps = tuple[Step, ...]


def judged(steps: Steps, index: int) -> int | None:
    """The step whose routes and gates are in force at `index`: the nearest one up to it that is no approval.

    None where nothing but approvals came: stable answers everything, and nothing is judged.
    """
    return next((i for i in range(index, -1, -1) if not isinstance(steps[i], ApprovalStep)), None)


def check(steps: Steps) -> None:
    """Raises `ValueError` with a sentence that begins with the field that is to blame."""
    _approvals_apart(steps)
    _rising(steps)
    _others_come_last(steps)
    _winners_are_approved(steps)


def _approvals_apart(steps: Steps) -> None:
    """Something is judged, and every approval is of something new."""
    for index, (step, after) in enumerate(pairwise(steps), 1):
        if isinstance(step, ApprovalStep) and isinstance(after, ApprovalStep):
            raise ValueError(
                f"steps[{index}].approval: follows another approval, with nothing new to look at; make them one, with"
                " `required: 2`, or put a step between them"
            )
    if judged(steps, len(steps) - 1) is None:
        raise ValueError(
            "steps[0].approval: nothing is judged, and there is no evidence to approve; put a step like"
            " `shadow: {percent: 100}` before it"
        )


def _rising(steps: Steps) -> None:
    """Weights rise, so that no user is moved back from candidate to stable by a step."""
    before = 0.0
    for index, step in enumerate(steps):
        if isinstance(step, ShadowStep | ApprovalStep):
            continue
        kind, arms = kind_of(step), len(challengers(step))
        # As the router splits it.
        weight = round(weight_of(step) * 100) // arms * arms if arms > 1 else weight_of(step) * 100
        if not weight:
            raise ValueError(
                f"steps[{index}].{kind}.weight: {weight_of(step):g} % is too little for {arms} challengers; the"
                " router splits traffic in steps of 0.01 %"
            )
        if weight < before or (weight == before and isinstance(step, CanaryStep)):
            raise ValueError(
                f"steps[{index}].{kind}.weight: weights must rise from step to step; "
                f"{weight / 100:g} follows {before / 100:g}"
            )
        before = weight


def _others_come_last(steps: Steps) -> None:
    """The winner is promoted as it is: nothing could be asked of it afterwards that was asked of the candidate.

    But a person may be asked.
    """
    last = judged(steps, len(steps) - 1)
    for index, step in enumerate(steps):
        if len(challengers(step)) > 1 and index != last:
            raise ValueError(
                f"steps[{index}].ab.others: several challengers meet in the last step, whose winner is promoted;"
                " move this step to the end"
            )


def _winners_are_approved(steps: Steps) -> None:
    """Who approved the candidate has not seen the others, one of whom may win."""
    index = judged(steps, len(steps) - 1)
    if index is None or len(challengers(steps[index])) == 1 or isinstance(steps[-1], ApprovalStep):
        return
    if any(isinstance(step, ApprovalStep) for step in steps[:index]):
        raise ValueError(
            f"steps[{index}].ab.others: an approval before this step is of the candidate alone, and another challenger"
            " may win; end the steps with an `approval`"
        )
