"""Who is compared with whom: eligibility, matching, balance."""
