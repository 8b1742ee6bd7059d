"""Lockgate lifts a registered model to production traffic step by step; each gate opens only on evidence."""

__version__ = "0.1.0"
