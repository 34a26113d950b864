"""From records to outcomes, in SQL: the person × period panel, jobs, spells, employment quality and outcome paths.

Imports `records` and below. The step ``zero_or_unknown`` of ``panel_steps`` decides where a quarter is zero and
where it is unknown; the steps of ``jobs``, ``spells`` and ``quality_steps`` are read and printed in the same way.
"""
