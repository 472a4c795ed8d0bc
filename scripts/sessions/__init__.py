"""The nox sessions, by kind. Start reading at building.py."""
