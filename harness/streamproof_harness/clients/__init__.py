"""The client processes of a run: what they are told to do, do, and report."""
