"""The cases that prove that several servers are one, on any fleet: numbers as in the notes on the wire."""
