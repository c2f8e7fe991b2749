"""An attack that anyone can run: harmless inputs, servers and kills, and whether one of them does harm.

``python -m tests.attack`` (``make attack``) makes everything at run time from a seed; nothing is committed but counts.
"""
