"""Timelines: what happened when, to be looked at in a trace viewer."""
