"""What can go wrong with dashboards.

DashboardsError
├── Unanswered       Prometheus cannot be asked, or refuses
└── NoViewer         the viewer that draws pictures cannot be made, or fails
"""

from __future__ import annotations


class DashboardsError(Exception):
    """A sentence: what is wrong, where, and what to do."""


class Unanswered(DashboardsError):
    pass


class NoViewer(DashboardsError):
    pass
