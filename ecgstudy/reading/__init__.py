"""An ECG of one's own: the answer of the networks that ship, why they gave it, and a page that shows it."""
