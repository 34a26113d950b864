"""The page on who is in the sample: the flow from submitted to analysed, and who could be linked."""
