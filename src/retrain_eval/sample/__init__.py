"""Who is compared with whom: eligibility, matching and weighting, follow-up, balance.

`match` is the entrance and `MatchedSample` what it returns. Imports `estimators` (for the result type) and below.
"""
