"""The checks of `rlagent doctor`: installed parts, the machine, and what a run must reach."""
