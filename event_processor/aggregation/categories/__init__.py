"""The totals of each category, in columns over all categories.

Owns: adds a batch to the totals; finds first and last ids; writes the totals in the form of the checkpoint.
Always: totals are immutable for the caller: adding a batch makes new ones.
Never: creates a category for a rejected or duplicate event. Open `totals.py` first.
"""
