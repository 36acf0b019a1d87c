"""Judging a field: metrics, report, evaluation over many pairs."""
