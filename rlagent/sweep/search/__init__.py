"""Searching: Optuna suggests trials and learns from them; running them is the pool's.

Only study.py and samplers.py import Optuna, so that checking and planning a search stays light.
"""
