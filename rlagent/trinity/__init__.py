"""Driving Trinity-RFT: translation of the configuration, and our actors on top of Trinity's.

Explorer, scheduler, buffer, algorithms, synchronizer and state are Trinity's. What is ours ends a
run honestly, feeds whole steps to the trainer, and lets many tasks share one runner process.
"""
