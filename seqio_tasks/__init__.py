"""What training reads: SeqIO tasks, vocabularies and metrics."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports on GPUs that nobody asked about
