"""The conformance suite of oacp-storage: prove that a backend keeps the contract."""
