"""The simulator: hearts, their field, what disturbs a recording, and records with an answer key."""
