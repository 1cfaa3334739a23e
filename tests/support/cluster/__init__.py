"""The harness for clusters: real Redis servers that fail on demand, and servers of Node and Python as one fleet."""
