"""Data: from the files of each data set to a cohort that a system can be trained on."""
