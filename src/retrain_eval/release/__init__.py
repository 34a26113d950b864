"""What leaves the agency: results, disclosure control, the release bundle and its verification.

``protection/`` makes the tables safe, ``verification/`` derives every number again and compares. Imports `sample`,
`estimators`, `tables` and below.
"""
