"""Each call as a flow: a generator that says what is to be sent, read and waited for.

A flow does no input or output of its own, so that one text of it serves `Towline` and
`AsyncTowline`; their drivers do what it yields (`towline/_core/effects.py`).
"""
