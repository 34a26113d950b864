"""One module for each page of the report, or part of one."""
