"""The VMs' network, as addresses: what netns.py, its driver's side and switch.py agree on. Imports nothing."""

ADDRESS, PREFIX = "10.77.0.1", 16  # the host's own, which no VM has
