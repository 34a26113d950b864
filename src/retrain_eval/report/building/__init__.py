"""From bundles to the report: the book is prepared and built, and printed as a PDF."""
