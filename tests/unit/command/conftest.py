"""Findings, for what completes them."""

from fixtures.findings import make_finding, printed

__all__ = ["make_finding", "printed"]
