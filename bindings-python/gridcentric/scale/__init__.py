"""`gc scale`: starts a program that knows nothing of gridcentric, and clones it as users arrive. docs/scale.md describes it.

The process that runs this is not a domain: it gives orders from outside. Start reading at scaler.py; the traffic, the dashboard
and the loop are those of gridcentric.autoscale.
"""
