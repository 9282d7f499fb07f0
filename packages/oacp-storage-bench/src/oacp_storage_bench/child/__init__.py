"""What other processes do for a run; see ``oacp_storage_bench.processes`` for how they are asked."""
