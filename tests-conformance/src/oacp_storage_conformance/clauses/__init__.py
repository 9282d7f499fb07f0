"""The clauses of the contract, one module each: what the suite proves."""
