"""Aggregates of events: totals by category, groups, windows, exact sums.

Owns: `categories/`, `windows/`, groups, measures, and the exact expansion that a sum is.
Always: a result depends on the events alone, not on batches or on their order.
Never: nothing is written or timed here. Open `exact_sum.py` first, then `categories/totals.py`.
"""
