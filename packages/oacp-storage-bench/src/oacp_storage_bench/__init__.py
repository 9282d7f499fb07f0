"""How fast a storage is on this machine, beside its bare driver and other libraries: ``oacp-storage bench``."""
