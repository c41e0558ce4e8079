"""`python -m benchmarks.faults`: what becomes of a run when something breaks, fault by moment."""
