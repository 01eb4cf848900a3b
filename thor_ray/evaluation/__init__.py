"""Evaluation without a cluster: rows, estimators, intervals, selection, comparisons, reports, the paper's figures."""
