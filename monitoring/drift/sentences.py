"""What is different about an input, in plain words. No label or value is quoted that a single person may have sent."""

from __future__ import annotations

import numpy as np

from lockgate.monitoring.drift.aspects import Aspect
from lockgate.monitoring.drift.columns import Array
from lockgate.monitoring.drift.labels import Labels
from lockgate.monitoring.drift.measure import Measured
from lockgate.monitoring.drift.profile import Bins
from lockgate.monitoring.drift.quantiles import SEVERAL, SHOWN, Numbers, quantile

_ALIKE = 0.15
"""Ratios that differ less, relatively, are one factor."""
_UNIT = 1.5
"""Factors between units are larger: a mile is 1.609 kilometres."""
_FREQUENT = 0.1
"""By how much the share of one value must be above that of the reference's largest bin to be the thing to say."""
_EXAMPLES = 3
_LOOKED_AT = 20
"""New labels among which they are sought, the most frequent."""


def of_missing(found: Measured) -> str:
    return f"{percent(found.missing.live)} are missing, it was {percent(found.missing.reference)}"


def of_new(found: Measured) -> str:
    assert found.new  # noqa: S101 - asked for where there is something new
    says = f"{percent(found.new.live)} have a value that the reference never had"
    names = _new_names(found, found.live["value"], found.feature.aspects["value"])
    return f"{says}, like {', '.join(map(repr, names))}" if names else says


def _new_names(found: Measured, value: Aspect, bins: Bins) -> list[str]:
    if not isinstance(bins, Labels) or value.labels is None:
        return []
    counts = np.bincount(value.values, minlength=len(value.labels)) * bins.unknown(value.labels)
    often = [i for i in np.argsort(-counts, kind="stable")[:_LOOKED_AT].tolist() if counts[i] >= SEVERAL]
    several = [value.labels[i][:40] for i in often if found.several(value, value.values == i)]
    return several[:_EXAMPLES]


def of_outside(found: Measured) -> str:
    bins, value = found.feature.aspects["value"], found.live["value"]
    assert isinstance(bins, Numbers)  # noqa: S101
    assert found.outside  # noqa: S101
    limits = f"{plain(bins.least)} to {plain(bins.most)}"
    says = f"{percent(found.outside.live)} lie outside what the reference has ({limits})"
    beyond, below = bins.outside(value.values), value.values < bins.quantiles[2]
    far = max(beyond & below, beyond & ~below, key=np.count_nonzero)
    if not found.several(value, far):
        return says
    return f"{says}, many of them around {plain(_rough(quantile(np.sort(value.values[far]), 0.5)))}"


def _rough(value: float) -> float:
    """Two digits: nobody is known by them."""
    return float(f"{value:.2g}")


def of_distance(found: Measured, at: str) -> str:
    """About one aspect."""
    bins, aspect = found.feature.aspects[at], found.live[at]
    if isinstance(bins, Labels):
        return "it has other words" if at == "words" else _labels(found, bins, aspect)
    if at.startswith("direction"):
        return f"its vectors point elsewhere ({at})"
    says = _numbers(found, bins, aspect)
    return says if at == "value" else f"its {at}: {says}"


def _labels(found: Measured, bins: Labels, aspect: Aspect) -> str:
    places = bins.place(aspect.values, aspect.labels or ())
    p = np.bincount(places, minlength=len(bins.counts)) / len(places)
    q = np.array(bins.counts) / sum(bins.counts)
    i = int(np.argmax(np.abs(p - q)))
    if i < len(bins.names) and bins.counts[i] < SEVERAL and not found.several(aspect, places == i):
        return "its labels are otherwise distributed"
    if i < len(bins.names):
        return f"{bins.names[i][:40]!r} is {percent(p[i])} of them, it was {percent(q[i])}"
    rare = slice(len(bins.names), None)
    now, before = percent(p[rare].sum()), percent(q[rare].sum())
    return f"labels that are rare in the reference are {now} of them, they were {before}"


def _numbers(found: Measured, bins: Numbers, aspect: Aspect) -> str:
    live = aspect.values
    finite = np.sort(live[np.isfinite(live)])
    if not len(finite):
        return "no value is finite"
    if says := _repeated(found, bins, aspect):
        return says
    now = [quantile(finite, q) for q in SHOWN]
    if any(_one_persons(found, aspect, value) for value in now[1:4]):
        return _most_changed(bins, finite)
    _, low, middle, high, _ = bins.quantiles
    moved = f"the median moved from {plain(middle)} to {plain(now[2])}"
    before, after = high - low, now[3] - now[1]
    if _factor(bins.quantiles, now):
        return f"{now[2] / middle:.3g} times what it was: {moved}; is it another unit?"
    if before > 0 and abs(now[2] - middle) < before / 2 and abs(after / before - 1) > _ALIKE:
        spans = f"{plain(now[1])} to {plain(now[3])}, it was {plain(low)} to {plain(high)}"
        return f"{'wider' if after > before else 'narrower'}: the middle half spans {spans}"
    return moved if plain(middle) != plain(now[2]) else _most_changed(bins, finite)


def _one_persons(found: Measured, aspect: Aspect, value: float) -> bool:
    """Whether several rows have it, and they are of few requests or users."""
    has = aspect.values == np.float32(value)
    return bool(np.count_nonzero(has) >= SEVERAL) and not found.several(aspect, has)


def _most_changed(bins: Numbers, live: Array) -> str:
    """The bin whose share changed most, by its edges."""
    p = np.bincount(bins.place(live), minlength=len(bins.counts)) / len(live)
    q = np.array(bins.counts) / sum(bins.counts)
    i = int(np.argmax(np.abs(p - q)))
    above = f"above {_edge(bins, i - 1)}" if i else ""
    below = f"up to {_edge(bins, i)}" if i < len(bins.edges) else ""
    return f"{percent(p[i])} are {' and '.join(filter(None, (above, below)))}, it was {percent(q[i])}"


def _edge(bins: Numbers, i: int) -> str:
    """An edge may lie a rounding error beside zero."""
    edge = bins.edges[i]
    return plain(edge if abs(edge) > 1e-6 * max(abs(bins.least), abs(bins.most)) else 0.0)


def _repeated(found: Measured, bins: Numbers, aspect: Aspect) -> str:
    """One value that many more rows have."""
    values, counts = np.unique(aspect.values, return_counts=True)
    i = int(np.argmax(counts))
    share = counts[i] / len(aspect.values)
    before = bins.counts[int(bins.place(values[i : i + 1])[0])] / sum(bins.counts)
    often = share >= max(bins.counts) / sum(bins.counts) + _FREQUENT
    if not often or not found.several(aspect, aspect.values == values[i]):
        return ""
    return f"{percent(share)} are {plain(values[i])}, it was at most {percent(before)}"


def _factor(then: tuple[float, ...], now: list[float]) -> bool:
    """Whether everything, and how it spreads, is one factor times what it was, and a factor that units have."""
    inner = [(a, b) for a, b in zip(then[1:4], now[1:4], strict=True)]
    inner.append((then[3] - then[1], now[3] - now[1]))
    if any(a == 0 or b / a <= 0 for a, b in inner):
        return False
    ratios = [b / a for a, b in inner]
    return max(ratios[1], 1 / ratios[1]) > _UNIT and max(ratios) / min(ratios) < (1 + _ALIKE) ** 2


def percent(share: float) -> str:
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.1 or 0.995 < share < 1 else f"{100 * share:.0f} %"


def plain(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
