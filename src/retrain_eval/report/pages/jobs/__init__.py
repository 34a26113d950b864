"""The pages on having a job, on its quality, and on pay."""
