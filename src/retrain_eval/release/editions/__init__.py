"""Editions of one study: which there are, what they published, who approved them, and how they are taken back."""
