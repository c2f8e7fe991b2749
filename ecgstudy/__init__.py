"""ecgstudy: the package behind the book on explainable 12-lead ECG deep learning."""

__version__ = "0.1.0"
