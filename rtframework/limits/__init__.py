"""Limits on what clients may do in a time, and on how many of them may be there: without I/O and without timers."""
