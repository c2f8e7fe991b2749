"""Studies: questions that many runs answer, each with its committed table and the check of it."""
