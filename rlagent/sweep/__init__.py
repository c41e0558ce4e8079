"""Sweeps: many trials on one machine or cluster, none lost, one report.

A trial is one run of `rlagent.train` in a process of its own, kept in its own run folder; this
package plans them, shares out GPUs, watches, retries, searches and remembers.
"""
