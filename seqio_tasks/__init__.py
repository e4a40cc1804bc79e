"""What training reads: SeqIO tasks, vocabularies and metrics."""
