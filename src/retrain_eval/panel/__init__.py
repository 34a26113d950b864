"""From records to outcomes, in SQL: the person × period panel, jobs, spells, employment quality and outcome paths.

Imports `records` and below. ``coverage`` decides where the absence of a record is a zero and where it is unknown.
"""
