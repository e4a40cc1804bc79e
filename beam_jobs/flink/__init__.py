"""A standalone Flink cluster on loopback: what a job does on many machines, tried on one."""
