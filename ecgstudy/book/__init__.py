"""The book: its figures and tables, and how the notebooks are executed and rendered."""
