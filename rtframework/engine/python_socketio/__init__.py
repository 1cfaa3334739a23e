"""The drop-in: python-socketio's API on this engine."""
